"""What callers pass beside records: numbers, texts, yes or no, places and sequences, checked at the door.

Each check returns the value of Python's own type that is meant, see ``plain``, or raises an ``InvalidInputError`` that
names the argument and what would be accepted. What it lets through neither SQLite nor the file system refuses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from router_sdk.errors import InvalidInputError
from router_sdk.records.plain import INTEGERS, plain

Key = TypeVar("Key")
Item = TypeVar("Item")

_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([hdw])", re.ASCII)

MOST_WORDS = 1_000
"""Characters of a reason."""


def whole(value: object, what: str, least: int = 0) -> int:
    """A whole number from ``least`` to what 64 bits hold.

    Raises:
        InvalidInputError: if it is none.
    """
    number = _plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number < INTEGERS.stop:
        raise InvalidInputError(f"{what}: must be a whole number of at least {least}, got {value!r:.60}")
    return number


def real(value: object, what: str, least: float = 0.0) -> float:
    """A finite number of at least ``least``.

    Raises:
        InvalidInputError: if it is none.
    """
    number = _plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number < float("inf"):
        raise InvalidInputError(f"{what}: expected a number of at least {least:g}, got {value!r:.60}")
    return float(number)


def flag(value: object, what: str) -> bool:
    """True or False.

    Raises:
        InvalidInputError: if it is neither.
    """
    said = _plain(value)
    if not isinstance(said, bool):
        raise InvalidInputError(f"{what}: must be True or False, got {value!r:.60}")
    return said


def words(value: object, what: str, most: int = MOST_WORDS) -> str:
    """A text of 1 to ``most`` characters; half a surrogate pair becomes a question mark.

    Raises:
        InvalidInputError: if it is none, or blank.
    """
    if not isinstance(value, str) or not 0 < len(value.strip()) <= most:
        raise InvalidInputError(f"{what}: expected a text of 1 to {most:,} characters, got {value!r:.60}")
    return value.encode(errors="replace").decode()


def words_if_any(value: object, what: str) -> str | None:
    """The same, or None where nothing is given."""
    return None if value is None else words(value, what)


def text(value: object, what: str) -> str:
    """Any text; half a surrogate pair becomes a question mark.

    Raises:
        InvalidInputError: if it is none.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what}: expected a text, got {value!r:.60}")
    return value.encode(errors="replace").decode()


def name(value: object, what: str) -> str:
    """A name to look something up by; whoever looks says that nothing is called so.

    Raises:
        InvalidInputError: if it is no text, or one that cannot be written.
    """
    if not isinstance(value, str) or value.encode(errors="replace").decode() != value:
        raise InvalidInputError(f"{what}: expected a name, got {value!r:.60}")
    return str.__str__(value)


def place(value: object, what: str) -> Path:
    """A path that the file system can be asked about, with the user's home in place of ``~``.

    Raises:
        InvalidInputError: if it is none.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidInputError(f"{what}: expected a path, got {value!r:.60}")
    try:
        path = Path(value).expanduser()
        if b"\0" not in os.fsencode(path):
            return path
    except (ValueError, RuntimeError):
        pass
    raise InvalidInputError(f"{what}: cannot write or read {str(value)!r:.60}: no file can be called so")


def each(values: Iterable[Item], what: str) -> list[Item]:
    """What several things are given as, in a list.

    Raises:
        InvalidInputError: if it is no sequence, or a single text.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{what}: must be a sequence, got {values!r:.60}")
    return list(values)


def mapping(values: Mapping[Key, Item], what: str) -> dict[Key, Item]:
    """What is given by names, in a dict.

    Raises:
        InvalidInputError: if it is no mapping.
    """
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"{what}: must be a mapping, got {values!r:.60}")
    return dict(values)


def age(value: object) -> timedelta | None:
    """How long ago, such as ``12h``, ``90d`` or ``2w``; None where it is something else.

    There are no minutes, because ``3m`` would be taken for months.
    """
    found = _AGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    return timedelta(days=min(float(found[1]) * _DAYS[found[2]], timedelta.max.days))


def _plain(value: object) -> Any:
    try:
        return plain(value)
    except ValueError:
        return None
