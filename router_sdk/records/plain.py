"""Values of Python's own types: what comes in as a near kin of them, and what goes out as JSON or msgpack."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

INTEGERS = range(-(2**63), 2**63)
"""The integers that are kept: msgpack and SQLite hold no longer ones."""

_OWN = frozenset({type(None), bool, int, float, str})
_DEEPEST = 100


def plain(value: Any, depth: int = _DEEPEST) -> Any:
    """Return the value of Python's own type that ``value`` stands for, or ``value`` itself where there is none.

    Taken are scalars and arrays without dimensions of numpy, torch and their kin, ``Decimal`` and ``Fraction``, texts
    of a subclass; and arrays, lists, tuples, sets and mappings of them. Never with a loss: a number becomes the one
    that is equal to it, a ``Decimal`` the one that is written like it.

    Raises:
        ValueError: if a number has more digits than a float holds, or something is nested more than 100 deep.
    """
    if type(value) in _OWN:
        return value
    if not depth:
        raise ValueError("must not be nested so deeply")
    if isinstance(value, str):
        return str.__str__(value)
    listed = _listed(value)
    if listed is not value:
        return plain(listed, depth - 1)
    if isinstance(value, numbers.Number):
        return _number(value)
    if isinstance(value, Mapping):
        return {plain(name, depth - 1): plain(inner, depth - 1) for name, inner in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(plain(inner, depth - 1) for inner in value)
    return value


def _listed(value: Any) -> Any:
    """An array as lists, a scalar of it as a number; anything else as it is."""
    if not hasattr(value, "tolist") or not hasattr(value, "shape"):
        return value
    listed = value.tolist() if _kind(value) in "biufUO" else value  # dates would become integers
    return value if type(listed) is type(value) else listed  # numpy's longest float comes back as it was


def _kind(value: Any) -> str:
    """The letter by which numpy knows a type of value; types of other libraries have none, and are numbers."""
    kind: str = getattr(getattr(value, "dtype", None), "kind", "f")
    return kind


def _number(value: Any) -> Any:
    """The ``int`` or ``float`` that a number is; a number that is not real is left as it is.

    Raises:
        ValueError: if no float is it.
    """
    if _kind(value) == "m":  # numpy calls durations integers
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if not isinstance(value, (numbers.Real, Decimal)):
        return value
    near = _nearest(value)
    same = Decimal(repr(near)) == value if isinstance(value, Decimal) else near == value
    if same or math.isnan(near):  # which is refused as what it is
        return near
    raise ValueError(f"{value!r:.60} is no float exactly; give float(value) if it need not be")


def _nearest(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def exact(value: Any) -> Any:
    """Return the float that a number is, see ``plain``.

    Raises:
        ValueError: if ``value`` is no number, or no float is equal to it.
    """
    found = value if type(value) is float else plain(value)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError("must be a number")
    if _nearest(found) != found and found == found:
        raise ValueError("must be a number that a float holds exactly; give float(value) if it need not be")
    return _nearest(found)


def told(value: Any) -> Any:
    """Return ``value`` as JSON and msgpack hold it: for what strategies and stores say of themselves.

    Numbers that are not finite become None; what is neither number, text, mapping nor collection becomes its ``str``.
    """
    value = _listed(value)
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value) if int(value) in INTEGERS else str(int(value))
    if isinstance(value, (numbers.Real, Decimal)):
        near = _nearest(value)
        return near if math.isfinite(near) else None
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name if type(name) is str else str(told(name)): told(inner) for name, inner in value.items()}
    if isinstance(value, Collection) and not isinstance(value, (bytes, bytearray)):
        return [told(inner) for inner in value]
    return str(value)
