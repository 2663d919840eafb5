"""One transaction on the log: the locks around it, the next sequence number, and a group's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from router_sdk.errors import RouterClosedError
from router_sdk.store.connection import ProcessLock, initialise
from router_sdk.store.rows import (
    DECISION_COLUMNS,
    OUTCOME_COLUMNS,
    PAYLOAD_COLUMNS,
    VECTOR_COLUMNS,
    decision_row,
    task_payload,
    vector_rows,
)
from router_sdk.store.schema import EVENT_TABLES

if TYPE_CHECKING:
    from router_sdk.records import AgentSet, Decision
    from router_sdk.store.privacy import TextFilter
    from router_sdk.store.ticket import Entry

T = TypeVar("T")

LOCK_TIMEOUT_S = 30.0
_ROWS = 64
HEAD = (
    "SELECT max("
    + ", ".join(f"ifnull((SELECT max(seq) FROM {table}), 0)" for table in (*EVENT_TABLES, "positions"))
    + ")"
)
"""Reads the newest position in the log."""


@lru_cache(maxsize=1024)
def _insert(table: str, columns: str, rows: int) -> str:
    """One multi-row INSERT: a statement per row would hand the interpreter lock back and forth."""
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"


def insert_rows(connection: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert all rows, 64 to a statement: SQLite binds a limited number of values."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        connection.execute(_insert(table, columns, len(part)), tuple(chain.from_iterable(part)))


class Committer:
    """The writer's connection. Every method is called with the writer's commit lock held.

    Args:
        path: The database file.
        keep: What of a text may be stored.
        durable: False gives up durability for speed; for throw-away stores only.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(self, path: Path, keep: TextFilter, *, durable: bool) -> None:
        self._path, self._keep, self._durable = path, keep, durable
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._reset()
        self._connect()

    def _reset(self) -> None:
        self._process_lock = ProcessLock(self._path.with_name(self._path.name + "-lock"))
        self._known_sets: set[int] = set()
        self._head = -1

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")
        if self._connection is None:
            self._connection = initialise(self._path, self._process_lock, durable=self._durable)
        return self._connection

    def before_fork(self) -> None:
        """Close the connection: SQLite's file locks are the parent's alone, and a child would believe it had them."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._head = -1

    def after_fork(self) -> None:
        """In a child: a file lock of its own; the connection is opened at the next use."""
        self._process_lock.close()
        self._reset()

    def transact(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """Run ``work(connection, next_seq)`` in one durable transaction, alone on the machine.

        It takes its lock at once: a transaction that reads first and writes later defeats ``busy_timeout``.

        Raises:
            StoreUnavailableError: if another process does not let go of the lock.
        """
        connection = self._connect()
        self._process_lock.acquire(LOCK_TIMEOUT_S)
        try:
            connection.execute("BEGIN IMMEDIATE")
            seq = self._next_seq(connection)
            self._head = -1  # unknown from here on, unless the work knows how much of the sequence it used
            result = work(connection, seq)
            connection.execute("COMMIT")
        except BaseException:
            self._head = -1
            self._known_sets.clear()  # one that was written in this transaction is not there
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._process_lock.release()
        return result

    def exclusive(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` outside any transaction while no other process commits; for checkpoints."""
        connection = self._connect()
        self._process_lock.acquire(LOCK_TIMEOUT_S)
        self._head = -1  # the stamp is ours now, whoever wrote before
        try:
            return work(connection)
        finally:
            self._process_lock.release()

    def _next_seq(self, connection: sqlite3.Connection) -> int:
        """The first free position; read from the tables only where another process may have written in between."""
        if self._head < 0 or self._process_lock.changed_hands:
            (self._head,) = connection.execute(HEAD).fetchone()
        return self._head + 1

    def close(self) -> None:
        """Close the connection and the lock."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._process_lock.close()

    # -- one group

    def insert(self, entries: Sequence[Entry], decisions: Sequence[Decision]) -> None:
        """Commit decisions and entries as one group: decisions first, so that their outcomes find them.

        Raises:
            sqlite3.IntegrityError: if a row is refused; nothing of the group is stored.
        """

        def work(connection: sqlite3.Connection, seq: int) -> None:
            carried = [entry.decision for entry in entries if entry.decision is not None]
            seq = self._insert_decisions(connection, seq, [*decisions, *self._missing(connection, carried)])
            self._head = self._insert_outcomes(connection, seq, entries) - 1

        self.transact(work)

    @staticmethod
    def _missing(connection: sqlite3.Connection, carried: Sequence[Decision]) -> list[Decision]:
        """Those of the decisions that came with an outcome which the log does not hold yet."""
        unsure = {decision.decision_id: decision for decision in carried if not decision.durable}
        if unsure:
            marks = ", ".join("?" * len(unsure))
            query = f"SELECT decision_id FROM decisions WHERE decision_id IN ({marks})"
            for (known,) in connection.execute(query, tuple(unsure)).fetchall():
                del unsure[known]
        return list(unsure.values())

    def _insert_decisions(self, connection: sqlite3.Connection, seq: int, decisions: Sequence[Decision]) -> int:
        rows, payloads, vectors = [], [], []
        unique = {decision.decision_id: decision for decision in decisions}
        for decision in unique.values():
            if decision.distribution.agents.set_id not in self._known_sets:
                self._insert_set(connection, decision.distribution.agents)
            rows.append(decision_row(seq, decision))
            payload = task_payload(seq, decision.task, self._keep)
            if payload is not None:
                payloads.append(payload)
            if decision.vectors:
                vectors += vector_rows(seq, decision.vectors)
            seq += 1
        insert_rows(connection, "decisions", DECISION_COLUMNS, rows)
        insert_rows(connection, "payloads", PAYLOAD_COLUMNS, payloads)
        insert_rows(connection, "vectors", VECTOR_COLUMNS, vectors)
        return seq

    def _insert_set(self, connection: sqlite3.Connection, agents: AgentSet) -> None:
        names = "\x00".join(agents.names)
        connection.execute("INSERT OR IGNORE INTO agent_sets VALUES (?, ?)", (agents.set_id, names))
        self._known_sets.add(agents.set_id)

    @staticmethod
    def _insert_outcomes(connection: sqlite3.Connection, seq: int, entries: Sequence[Entry]) -> int:
        rows, payloads = [], []
        seen: set[str] = set()
        for outcome, payload, _ in entries:
            if outcome is None:
                continue
            outcome_id = outcome[0]
            if outcome_id is not None:
                found = connection.execute("SELECT 1 FROM outcomes WHERE outcome_id = ?", (outcome_id,)).fetchone()
                if found or outcome_id in seen:
                    continue
                seen.add(outcome_id)
            rows.append((seq, *outcome))
            if payload is not None:
                payloads.append((seq, *payload))
            seq += 1
        insert_rows(connection, "outcomes", OUTCOME_COLUMNS, rows)
        insert_rows(connection, "payloads", PAYLOAD_COLUMNS, payloads)
        return seq
