"""One transaction on the log: the locks around it, the next sequence number, and a group's rows."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from router_sdk.errors import RouterClosedError, StoreBusyError
from router_sdk.store.connection import BUSY_S, ProcessLock, open_writer
from router_sdk.store.log_time import LogClock
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
    from router_sdk.records import Decision
    from router_sdk.store.connection import DatabaseFile
    from router_sdk.store.privacy import Privacy
    from router_sdk.store.rows import Entry

T = TypeVar("T")

_ROWS = 256
_KNOWN_SETS = 16_384
"""Sets of agents that are known to stand in the log; beyond these all are written once more, which changes nothing."""
HEAD = (
    "SELECT max("
    + ", ".join(f"ifnull((SELECT max(seq) FROM {table}), 0)" for table in (*EVENT_TABLES, "positions"))
    + ")"
)
"""Reads the newest position in the log."""


@lru_cache(maxsize=1024)
def _insert(table: str, columns: str, rows: int, verb: str) -> str:
    """One multi-row INSERT: a statement per row would hand the interpreter lock back and forth."""
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"{verb} INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"


def insert_rows(
    connection: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]], *, verb: str = "INSERT"
) -> None:
    """Insert all rows, 256 to a statement: SQLite binds a limited number of values."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        connection.execute(_insert(table, columns, len(part), verb), tuple(chain.from_iterable(part)))


def insert_sets(connection: sqlite3.Connection, sets: Mapping[int, Sequence[str]]) -> None:
    """Insert sets of agents by their ids; another process may have written the same."""
    rows = [(set_id, "\x00".join(names)) for set_id, names in sets.items()]
    insert_rows(connection, "agent_sets", "set_id, names", rows, verb="INSERT OR IGNORE")


class Committer:
    """The writer's connection. Every method is called on the writer's thread, or while that stands still for a fork.

    Args:
        file: The database file.
        privacy: What of a text may be stored.
        durable: False gives up durability for speed; for throw-away stores only.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(self, file: DatabaseFile, privacy: Privacy, *, durable: bool) -> None:
        self._file, self._privacy, self._durable = file, privacy, durable
        self._lock = ProcessLock(file.path.with_name(file.path.name + "-lock"))
        self._clock = LogClock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._forget()
        self._connect()

    def _forget(self) -> None:
        """What is known of the file, is known of a connection and a moment."""
        self._known_sets: set[int] = set()
        self._head, self._data_version = -1, -1

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")
        if self._connection is None:
            self._connection = open_writer(self._file, self._lock, durable=self._durable)
        return self._connection

    def before_fork(self) -> None:
        """Close the connection: SQLite's file locks are the parent's alone, and a child would believe it had them."""
        self._disconnect()

    def after_fork(self) -> None:
        """In a child: a file lock of its own; the connection is opened at the next use."""
        self._lock.close()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None  # a signal handler in between opens its own
        self._file.closed()
        self._forget()
        if connection is not None:
            connection.close()

    def transact(self, work: Callable[[sqlite3.Connection, int], T], deadline: float) -> T:
        """Run ``work(connection, next_seq)`` in one durable transaction, alone on the machine.

        It takes its lock at once: a transaction that reads first and writes later defeats ``busy_timeout``.

        Args:
            work: Writes the rows.
            deadline: When to give up on a store that is locked, by the monotonic clock.

        Raises:
            StoreBusyError: if another process does not let go of the lock in time.
            StoreUnavailableError: if the file is not the one any more that was opened.
        """
        connection = self._connect()
        self._lock.acquire(deadline)
        moved = False
        try:
            self._begin(connection, deadline)
            seq = self._next_seq(connection)
            self._head = -1  # unknown from here on, unless the work knows how much of the sequence it used
            result = work(connection, seq)
            connection.execute("COMMIT")
            moved = self._file.check()  # before anybody is told that it is on disk
        except BaseException:
            self._forget()  # what was written in this transaction is not there
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()
        if moved:
            self._lock.renew()
        return result

    @staticmethod
    def _begin(connection: sqlite3.Connection, deadline: float) -> None:
        """Take SQLite's own lock, which other programs may hold, and routers whose lock file was deleted."""
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= deadline:
                    raise StoreBusyError("another program keeps the store's database locked; try again") from error
            else:
                return

    def _next_seq(self, connection: sqlite3.Connection) -> int:
        """The first free position; read from the tables only where another connection committed in between."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if self._head < 0 or version != self._data_version:
            (self._head,) = connection.execute(HEAD).fetchone()
            self._clock.read(connection)
            self._data_version = version
        return self._head + 1

    def checkpoint(self, deadline: float) -> bool:
        """Move the write-ahead log's pages into the database and empty it; False if a reader still needs them.

        SQLite waits for readers with its write lock held, so it is not let wait; what can be moved beside others'
        commits is moved first.
        """
        connection = self._connect()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._lock.acquire(deadline)
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1_000)}")
            self._lock.release()
        return not busy

    def close(self) -> None:
        """Close the connection and the lock."""
        self._closed = True
        self._disconnect()
        self._lock.close()

    # -- one group

    def insert(self, entries: Sequence[Entry], decisions: Sequence[Decision], deadline: float) -> None:
        """Commit decisions and entries as one group: decisions first, so that their outcomes find them.

        Raises:
            StoreBusyError: if another process does not let go of the lock in time.
            sqlite3.IntegrityError: if a row is refused; nothing of the group is stored.
        """

        def work(connection: sqlite3.Connection, seq: int) -> None:
            carried = [entry.decision for entry in entries if entry.decision is not None]
            seq = self._insert_decisions(connection, seq, [*decisions, *self._missing(connection, carried)])
            self._clock.look()
            self._head = self._insert_outcomes(connection, seq, entries) - 1
            self._clock.note(connection)

        self.transact(work, deadline)

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
        sets: dict[int, Sequence[str]] = {}
        unique = {decision.decision_id: decision for decision in decisions}
        for decision in unique.values():
            agents = decision.distribution.agents
            if agents.set_id not in self._known_sets:
                sets[agents.set_id] = agents.names
            rows.append(decision_row(seq, decision))
            payload = task_payload(seq, decision.task, self._privacy)
            if payload is not None:
                payloads.append(payload)
            if decision.vectors:
                vectors += vector_rows(seq, decision.vectors)
            seq += 1
        insert_sets(connection, sets)
        if len(self._known_sets) + len(sets) > _KNOWN_SETS:
            self._known_sets.clear()
        self._known_sets.update(sets)
        insert_rows(connection, "decisions", DECISION_COLUMNS, rows)
        insert_rows(connection, "payloads", PAYLOAD_COLUMNS, payloads)
        insert_rows(connection, "vectors", VECTOR_COLUMNS, vectors)
        if unique:
            refuse_foreign_outcomes(connection, list(unique))
        return seq

    def _insert_outcomes(self, connection: sqlite3.Connection, seq: int, entries: Sequence[Entry]) -> int:
        rows, payloads = [], []
        seen: set[Owner] = set()
        for outcome, payload, _ in entries:
            if outcome is None:
                continue
            outcome_id, decision_id, _, tenant = outcome[:4]
            if outcome_id is not None:
                owner = owner_of(connection, decision_id, tenant)
                delivery = (outcome_id, *owner)
                if delivery in seen or delivered(connection, outcome_id, owner) is not None:
                    continue
                seen.add(delivery)
            rows.append((seq, *outcome, self._clock.stamp(outcome[2])))
            if payload is not None and not forgotten(connection, decision_id):
                payloads.append((seq, *payload))
            seq += 1
        insert_rows(connection, "outcomes", f"{OUTCOME_COLUMNS}, logged_at", rows)
        insert_rows(connection, "payloads", PAYLOAD_COLUMNS, payloads)
        return seq


Owner = tuple[str | None, ...]
"""What tells the outcomes of one tenant from another's: its name, or of a decision that is not there, its id and whose
the outcome claims to be. Before its decision comes nobody knows whose it is: a false claim swallows nothing."""

_DELIVERED = {
    "tenant": """SELECT o.decision_id FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
                 WHERE o.outcome_id = ? AND d.tenant IS ?""",
    "decision": "SELECT decision_id FROM outcomes WHERE outcome_id = ? AND decision_id = ? AND tenant IS ?",
}


def delivered(connection: sqlite3.Connection, outcome_id: str, owner: Owner) -> str | None:
    """Of which decision there is an outcome of that id of the same owner."""
    kind, *names = owner
    found = connection.execute(_DELIVERED[str(kind)], (outcome_id, *names)).fetchone()
    return None if found is None else str(found[0])


def owner_of(connection: sqlite3.Connection, decision_id: str, claimed: str | None) -> Owner:
    """Whose an outcome of a decision is that claims to be a tenant's, or nobody's."""
    row = connection.execute("SELECT tenant FROM decisions WHERE decision_id = ?", (decision_id,)).fetchone()
    return ("decision", decision_id, claimed) if row is None else ("tenant", row[0])


_FOREIGN = """
SELECT o.seq FROM decisions d JOIN outcomes o ON o.decision_id = d.decision_id
WHERE d.decision_id IN (SELECT value FROM json_each(?)) AND o.tenant IS NOT NULL AND o.tenant IS NOT d.tenant"""


def refuse_foreign_outcomes(connection: sqlite3.Connection, decision_ids: list[str]) -> None:
    """Outcomes that came before these decisions, for another tenant: they are dead letters now."""
    seqs = json.dumps([seq for (seq,) in connection.execute(_FOREIGN, (json.dumps(decision_ids),))])
    if seqs == "[]":
        return
    chosen = "seq IN (SELECT value FROM json_each(?))"
    connection.execute(
        f"""INSERT INTO dead_letters (at, kind, decision_id, reason)
            SELECT ?, 'outcome', decision_id, 'its decision is another tenant''s' FROM outcomes WHERE {chosen}""",
        (time.time(), seqs),
    )
    connection.execute(f"DELETE FROM payloads WHERE {chosen}", (seqs,))
    connection.execute(f"DELETE FROM outcomes WHERE {chosen}", (seqs,))


def forgotten(connection: sqlite3.Connection, decision_id: str) -> bool:
    """Whether a decision was forgotten: what is said of it later is not kept either, beside the numbers."""
    query = "SELECT 1 FROM forgotten_decisions WHERE decision_id = ?"
    return connection.execute(query, (decision_id,)).fetchone() is not None
