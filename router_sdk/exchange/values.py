"""Values as foreign files spell them: truth, numbers, times."""

from __future__ import annotations

import re
import time
from datetime import datetime

from router_sdk.errors import InvalidInputError

_TRUE = frozenset({"true", "yes", "y", "t", "1", "1.0"})
_FALSE = frozenset({"false", "no", "n", "f", "0", "0.0"})
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "-"})
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_MILLISECONDS = 1e11
"""Times from here on are in milliseconds: as seconds they would lie beyond the year 5000."""
_AHEAD_S = 86_400.0
_LARGEST = 1e300


def is_missing(value: object) -> bool:
    """Whether nothing is known: no value, an empty cell, or one that says so. Unknown is never 0."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING)


def truth(value: object, column: str) -> bool | None:
    """``1``, ``0``, ``1.0``, ``TRUE``, ``yes``, ``no`` and the like as what they say.

    Raises:
        InvalidInputError: if it is neither; a degree belongs to ``quality``.
    """
    if isinstance(value, bool) or is_missing(value):
        return value if isinstance(value, bool) else None
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    hint = ""
    if isinstance(value, (int, float)) or _NUMBER.fullmatch(word):
        hint = "; a degree of success, in [0, 1], is given as quality"
    raise InvalidInputError(f"{column}: expected true or false (1, 0, yes, no), got {value!r:.60}{hint}")


def number(value: object, column: str) -> float | None:
    """A number, or a text that spells one.

    Raises:
        InvalidInputError: if it is none, or not finite.
    """
    if is_missing(value):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{column}: expected a number, got {value!r:.60}")
    if not abs(value) <= _LARGEST:
        raise InvalidInputError(f"{column}: expected a finite number, got {value!r:.60}")
    return float(value)


def whole(value: object, column: str) -> int | None:
    """A whole number, also where it is spelled with a point.

    Raises:
        InvalidInputError: if it is none.
    """
    found = number(value, column)
    if found is None:
        return None
    if not found.is_integer():
        raise InvalidInputError(f"{column}: expected a whole number, got {value!r:.60}")
    return int(found)


def rescaled(value: object, column: str, span: tuple[float, float] | None) -> float | None:
    """A score on [0, 1].

    Args:
        value: On the scale ``span``, or without one in [0, 1].
        column: For the error.
        span: The lowest and the highest score that there is.

    Raises:
        InvalidInputError: if it is no number, or outside.
    """
    found = number(value, column)
    low, high = span or (0.0, 1.0)
    if found is None:
        return None
    if not low <= found <= high:
        how = "" if span else "; say on what range it is: --score-range LOW HIGH, or score_range=(LOW, HIGH)"
        raise InvalidInputError(f"{column}: expected a score in [{low:g}, {high:g}], got {value!r:.60}{how}")
    return (found - low) / (high - low)


def opinion(value: object, column: str) -> float | None:
    """What a user said, from -1 to 1.

    Raises:
        InvalidInputError: if it is no number, or outside.
    """
    found = number(value, column)
    if found is not None and not -1 <= found <= 1:
        hint = "stars or points are a quality, with --score-range LOW HIGH"
        raise InvalidInputError(f"{column}: expected a number in [-1, 1], got {value!r:.60}; {hint}")
    return found


def moment(value: object, column: str) -> float | None:
    """A time in seconds since the epoch: given so, in milliseconds, or as ISO 8601 (local time without a zone).

    Raises:
        InvalidInputError: if it is none of these, or still to come.
    """
    if is_missing(value):
        return None
    try:
        at = number(value, column)
    except InvalidInputError:
        at = None
    if at is None:
        try:
            at = datetime.fromisoformat(str(value).strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            raise InvalidInputError(
                f"{column}: expected seconds since the epoch or a time such as 2026-01-31T12:00+01:00, "
                f"got {value!r:.60}"
            ) from None
    elif at >= _MILLISECONDS:
        at /= 1_000
    if not 0 <= at <= time.time() + _AHEAD_S:
        raise InvalidInputError(f"{column}: expected a time since 1970 that is over, got {value!r:.60}")
    return at
