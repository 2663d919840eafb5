"""Ids: 48 bits of milliseconds and 80 of randomness in hexadecimal digits; and which one a tenant's key stands for."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from contextlib import suppress
from functools import cached_property
from hmac import digest
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from router_sdk.errors import IdempotencyConflictError, InvalidIdError, InvalidInputError
from router_sdk.records.fields import Name
from router_sdk.records.plain import plain
from router_sdk.records.record import describe
from router_sdk.spelling import normal
from router_sdk.store.rows import TASK_COLUMNS, stored_task, task_payload

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.records import Task
    from router_sdk.store.privacy import Privacy
    from router_sdk.store.reader import LogReader

_FORM = re.compile(r"[0-9a-f]{32}")
_POOL = 256
_MAX_KEY_CHARS = 200
LAST_S = 253_402_300_799
"""The last second of the year 9999, in seconds since the epoch: no calendar goes on from there."""
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
        InvalidInputError: if it is no number, or lies beyond the year 9999, as a time in milliseconds does.
    """
    moment = plain(value)
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not abs(moment) <= LAST_S:
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


# -- idempotency keys

_REMEMBERED = 10_000
_READ = "SELECT value FROM meta WHERE name = 'store_secret'"
_KEPT = f"""SELECT p.context_hash, {TASK_COLUMNS} FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
            WHERE d.decision_id = ? AND NOT EXISTS
            (SELECT 1 FROM forgotten_decisions f WHERE f.decision_id = d.decision_id)"""


class IdempotencyKeys:
    """The keys of all tenants on one store.

    Nothing is remembered of a key: the decision's id follows from it, in every process, by a secret that the store's
    file holds.

    Args:
        reader: Where decisions are looked up.
        privacy: What of a task is kept.
    """

    def __init__(self, reader: LogReader, privacy: Privacy) -> None:
        self._reader, self._privacy = reader, privacy
        self._texts: dict[str, bytes] = {}
        """Of the newest keys' tasks of which the log keeps no text: a hash that only this process can make."""
        self._own_secret = os.urandom(32)

    @cached_property
    def _secret(self) -> bytes:
        return bytes.fromhex(self._reader.query(lambda connection: connection.execute(_READ).fetchone()[0]))

    def decision_id(self, key: str, tenant: str | None) -> str:
        """The id of the decision that a tenant's key stands for."""
        return keyed_id(self._secret, key, tenant)

    def check(self, key: str, decision_id: str, task: Task) -> None:
        """Check that a key, whose decision is logged, was given for the same task.

        What the log keeps of the two tasks is compared: every field with ``privacy="full"``; with ``redacted`` and
        ``hmac`` what is kept of it, and the text by its hash. With ``none`` the log keeps no text, and it is compared
        with those of the 10,000 newest keys of this process. Of a forgotten decision nothing is compared.

        Raises:
            IdempotencyConflictError: if it was given for another one; names the fields that differ.
        """

        def work(connection: Connection) -> tuple[object, ...] | None:
            found: tuple[object, ...] | None = connection.execute(_KEPT, (decision_id,)).fetchone()
            return found

        row = self._reader.query(work)
        if row is None:
            return
        payload = task_payload(0, task, self._privacy)
        _, session, text, features, context, *_, about, _ = payload or (None,) * 10
        task_row = (task.task_type, task.tenant, task.step, task.parent_decision_id, session, text, features, context)
        before, now = stored_task(row[1:]), stored_task(task_row)
        differ = [name for name in type(task).model_fields if getattr(before, name) != getattr(now, name)]
        if "text" not in differ and (row[0] != about or (about is None and not self._same_text(decision_id, task))):
            differ.append("text")
        if differ:
            raise IdempotencyConflictError(
                f"idempotency_key: {key!r:.60} was given before for another task (what differs: {', '.join(differ)}); "
                "give each task a key of its own, or the same task again"
            )

    def _same_text(self, decision_id: str, task: Task) -> bool:
        """Whether this process knows no other text of that decision; the oldest are known no more."""
        text = digest(self._own_secret, task.text.encode("utf-8", "replace"), "sha256")
        known = self._texts.setdefault(decision_id, text)
        with suppress(RuntimeError, StopIteration, KeyError):  # another thread may be at it, too
            while len(self._texts) > _REMEMBERED:
                del self._texts[next(iter(self._texts))]
        return known == text


os.register_at_fork(after_in_child=_tails.clear) if hasattr(os, "register_at_fork") else None
