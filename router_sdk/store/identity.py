"""Ids: 32 hexadecimal digits, 48 bits of milliseconds and 80 bits of the operating system's randomness."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from hmac import digest

from pydantic import TypeAdapter, ValidationError

from router_sdk.errors import InvalidIdError, InvalidInputError
from router_sdk.records.fields import Name
from router_sdk.records.plain import plain
from router_sdk.records.record import describe
from router_sdk.spelling import normal

_FORM = re.compile(r"[0-9a-f]{32}")
_POOL = 256
_MAX_KEY_CHARS = 200
_LAST_S = 1e15
_TENANT: TypeAdapter[str | None] = TypeAdapter(Name | None)

_tails: deque[str] = deque()


def _refill() -> str:
    """Read randomness for many ids at once: each read gives up the interpreter lock, which costs the hot path."""
    entropy = os.urandom(10 * _POOL).hex()
    _tails.extend([entropy[i : i + 20] for i in range(0, len(entropy) - 20, 20)])
    return entropy[-20:]


def new_id(at: float | None = None) -> str:
    """A fresh id that sorts by time. Safe in threads, and after a fork."""
    try:
        tail = _tails.popleft()
    except IndexError:
        tail = _refill()
    return f"{int((time.time() if at is None else at) * 1000):012x}{tail}"


def keyed_id(secret: bytes, key: str, tenant: str | None) -> str:
    """The id that stands for a tenant's idempotency key: an HMAC, so that nobody outside can tell which it will be."""
    return digest(secret, f"{tenant or ''}\x00{key}".encode(), "sha256").hex()[:32]


def check_tenant(value: object) -> str | None:
    """Return ``value`` if a task can have it as its tenant; None is the tenant of tasks that name none.

    Raises:
        InvalidInputError: if it can be no tenant's name.
    """
    try:
        return _TENANT.validate_python(value)
    except ValidationError as error:
        raise InvalidInputError(f"tenant: {describe(error)}") from None


def check_key(value: object, what: str) -> str:
    """Return a caller's own key as it is kept, in Unicode's form NFC.

    Raises:
        InvalidIdError: if it is no text of 1 to 200 characters.
    """
    key = normal(str.__str__(value)) if isinstance(value, str) else ""
    if 0 < len(key) <= _MAX_KEY_CHARS and _storable(key):
        return key
    raise InvalidIdError(f"{what}: expected a text of 1 to {_MAX_KEY_CHARS} characters, got {value!r:.60}")


def check_time(value: object, what: str) -> float:
    """Return a moment in seconds since the epoch.

    Raises:
        InvalidInputError: if it is no number, or one of which a double does not tell second from second.
    """
    moment = plain(value)
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not abs(moment) < _LAST_S:
        raise InvalidInputError(f"{what}: expected a time in seconds since the epoch, got {value!r:.60}")
    return float(moment)


def _storable(value: str) -> bool:
    """Whether the text can be written: half a surrogate pair cannot."""
    return value.encode(errors="replace").decode() == value


def check_id(value: object, what: str = "decision_id") -> str:
    """Return ``value`` if it has an id's form.

    Raises:
        InvalidIdError: if it has not.
    """
    if isinstance(value, str) and _FORM.fullmatch(value):
        return str.__str__(value)
    shown = repr(value)[:60]
    raise InvalidIdError(f"{what}: expected the 32 hexadecimal digits that route() returned, got {shown}")


os.register_at_fork(after_in_child=_tails.clear) if hasattr(os, "register_at_fork") else None
