"""Idempotency keys: which decision one stands for, and whether it was given for the same task before."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from hmac import digest
from typing import TYPE_CHECKING

from router_sdk.errors import IdempotencyConflictError
from router_sdk.store.identity import keyed_id
from router_sdk.store.payloads import TASK_COLUMNS, stored_task
from router_sdk.store.rows import task_payload

if TYPE_CHECKING:
    import sqlite3

    from router_sdk.records import Task
    from router_sdk.store.privacy import Privacy
    from router_sdk.store.reader import LogReader

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

        def work(connection: sqlite3.Connection) -> tuple[object, ...] | None:
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
