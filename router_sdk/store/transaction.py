"""One transaction on the log: the locks around it, the next position, the log's own time, and a group's rows.

What fades with age goes by the log's time, which no single clock can carry far away: each outcome is given it when it
is committed, so that every reader finds the same, and it never goes back from one position to the next. It follows the
wall's clock of the process that writes. Where that leaps ahead, a week at most is believed; where it falls behind, the
log's time stands still.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from router_sdk.store.coordination import put_notes
from router_sdk.store.rows import (
    DECISION_COLUMNS,
    OUTCOME_COLUMNS,
    PAYLOAD_COLUMNS,
    VECTOR_COLUMNS,
    Held,
    decision_row,
    insert_sets,
    overtaken,
    refuse_at_the_door,
    refuse_foreign_outcomes,
    task_payload,
    vector_rows,
)
from router_sdk.store.schema import EVENT_TABLES
from router_sdk.waiting import Promise

if TYPE_CHECKING:
    import asyncio

    from router_sdk.engine import Connection, Writing
    from router_sdk.errors import RouterError
    from router_sdk.records import Decision
    from router_sdk.store.privacy import Privacy
    from router_sdk.store.rows import Entry

T = TypeVar("T")

_log = logging.getLogger(__name__)

_KNOWN_SETS = 16_384
"""Sets of agents that are known to stand in the log; beyond these all are written once more, which changes nothing."""
_OUTCOME_COLUMNS = f"{OUTCOME_COLUMNS}, logged_at"
_HEADS = " UNION ALL ".join(f"SELECT max(seq) AS seq FROM {table}" for table in (*EVENT_TABLES, "positions"))
HEAD = f"SELECT coalesce(max(seq), 0) FROM ({_HEADS}) AS heads"
"""Reads the newest position in the log."""
_TIME = """
(SELECT logged_at FROM outcomes ORDER BY seq DESC LIMIT 1),
(SELECT CAST(value AS DOUBLE PRECISION) FROM meta WHERE name = 'log_time')"""
NEWEST = f"SELECT ({HEAD}), {_TIME}"
"""What a transaction goes on from: the newest position, and what tells the log's time."""


class Committer:
    """Writes the log's rows, by the writing end of a process. Every method is called on the writer's thread.

    Args:
        writing: The writing end.
        privacy: What of a text may be stored.
    """

    def __init__(self, writing: Writing, privacy: Privacy) -> None:
        self.writing, self._privacy = writing, privacy
        self._clock = LogClock()
        self._forget()

    def _forget(self) -> None:
        """What is known of the log, is known of a connection and a moment."""
        self._known_sets: set[int] = set()
        self._head = -1

    def disconnect(self) -> None:
        """Close the connection; the next transaction opens another."""
        self._forget()
        self.writing.disconnect()

    def transact(self, work: Callable[[Connection, int], T], deadline: float) -> T:
        """Run ``work(connection, next_seq)`` in one durable transaction, while no other process writes.

        Args:
            work: Writes the rows.
            deadline: When to give up on a store that is locked, by the monotonic clock.

        Raises:
            StoreBusyError: if another process does not let go of the lock in time.
            StoreUnavailableError: if it cannot be written.
        """
        attempts = 0

        def whole(connection: Connection, found: Any) -> T:
            nonlocal attempts
            attempts += 1
            if attempts > 1:  # the connection was lost, and what was written before with it
                self._forget()
            if found is None and self._head < 0:
                found = connection.execute(NEWEST).fetchone()
            head = self._head
            if found is not None:
                head, newest, noted = found
                self._clock.hear(newest, noted)
            self._head = -1  # unknown from here on, unless the work knows how much of the sequence it used
            return work(connection, head + 1)

        try:
            return self.writing.transact(whole, deadline, NEWEST)
        except BaseException:
            self._forget()  # what was written in this transaction is not there
            raise

    # -- one group

    def insert(
        self, entries: Sequence[Entry], decisions: Sequence[Decision], deadline: float, join: Callable[[], None]
    ) -> None:
        """Commit decisions and entries, and what ``join`` adds to both once the store is ours: decisions come first.

        Raises:
            StoreBusyError: if another process does not let go of the lock in time.
            Exception: of the database, if a row is refused; nothing of the group is stored.
        """

        def work(connection: Connection, seq: int) -> None:
            join()
            carried = [decision for _, _, decision, _ in entries if decision is not None]
            fresh = [*decisions, *self._missing(connection, carried, decisions)]
            after = self._insert_decisions(connection, seq, fresh) if fresh else seq
            self._clock.look()
            self._head = self._insert_outcomes(connection, after, entries) - 1
            self._clock.note(connection)
            notes = [note for _, _, _, noted in entries for note in noted]
            if notes:
                put_notes(connection, notes)
            if fresh:  # last, for its answer is waited for
                refuse_foreign_outcomes(connection, [decision.decision_id for decision in fresh], seq)

        self.transact(work, deadline)

    @staticmethod
    def _missing(connection: Connection, carried: Sequence[Decision], beside: Sequence[Decision]) -> list[Decision]:
        """Those of the decisions that came with an outcome which the log does not hold yet, nor gets beside it."""
        unsure = {decision.decision_id: decision for decision in carried if not decision.durable}
        for decision in beside:
            unsure.pop(decision.decision_id, None)
        if unsure:
            marks = ", ".join("?" * len(unsure))
            query = f"SELECT decision_id FROM decisions WHERE decision_id IN ({marks})"
            for (known,) in connection.execute(query, tuple(unsure)).fetchall():
                del unsure[known]
        return list(unsure.values())

    def _insert_decisions(self, connection: Connection, seq: int, decisions: Sequence[Decision]) -> int:
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
        connection.insert_rows("decisions", DECISION_COLUMNS, rows)
        connection.insert_rows("payloads", PAYLOAD_COLUMNS, payloads)
        connection.insert_rows("vectors", VECTOR_COLUMNS, vectors)
        return seq

    def _insert_outcomes(self, connection: Connection, seq: int, entries: Sequence[Entry]) -> int:
        rows, payloads, refused = [], [], list[str]()
        held = Held(connection, entries)
        stamp = self._clock.stamp
        for outcome, payload, _, _ in entries:
            if outcome is None:
                continue
            outcome_id, decision_id, at, tenant = outcome[:4]
            if held.foreign(decision_id, tenant):  # it came while another process wrote the decision
                refused.append(decision_id)
                continue
            if outcome_id is not None and held.earlier(outcome_id, decision_id, tenant) is not None:
                continue
            # A look is needed only where somebody is named who said it.
            if outcome[-1] is not None and overtaken(connection, outcome, entries, held):
                continue
            rows.append((seq, *outcome, stamp(at)))
            if payload is not None and decision_id not in held.forgotten:
                payloads.append((seq, *payload))
            seq += 1
        if refused:
            refuse_at_the_door(connection, refused)
        connection.insert_rows("outcomes", _OUTCOME_COLUMNS, rows)
        if payloads:
            connection.insert_rows("payloads", PAYLOAD_COLUMNS, payloads)
        return seq


# -- who waits


class Ticket(Promise[None]):
    """What one caller wants on disk in one transaction.

    Attributes:
        entries: The rows.
        deadline: When to give up on a store that is locked, by the monotonic clock.
        future: Of the coroutine that waits, or None where a thread does.
        follower: The next sleeper of the same group: each woken caller wakes one other.
        left: Whether nobody sleeps on it any more: the caller was interrupted, or is done.
    """

    __slots__ = ("deadline", "entries", "follower", "future", "left")

    def __init__(self, entries: Sequence[Entry], deadline: float, future: asyncio.Future[None] | None = None) -> None:
        super().__init__()
        self.entries, self.deadline, self.future = entries, deadline, future
        self.follower: Ticket | None = None
        self.left = False

    def settle(self, error: RouterError | None, follower: Ticket | None) -> None:
        """Note how it went, and wake nobody yet."""
        self._error, self.follower, self.done = error, follower, True

    def leave(self) -> None:
        """The caller sleeps no more. It wakes the next one; where that is not known yet, who settles passes it over."""
        self.left = True
        if self.follower is not None:
            self.follower.wake()


def settle(tickets: Sequence[Ticket], error: RouterError | None) -> None:
    """Tell the callers of a group: each woken thread wakes the next, each event loop is called once."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    follower: Ticket | None = None
    for ticket in reversed(tickets):
        ticket.settle(error, follower)
        if ticket.future is None:
            follower = follower if ticket.left else ticket
        else:
            loops.setdefault(ticket.future.get_loop(), []).append(ticket.future)
    if follower is not None:
        follower.wake()
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures)
        except RuntimeError:
            _log.warning("an event loop was closed while %d outcomes were being recorded", len(futures))


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


# -- the log's own time

LEAP_S = 7 * 86_400.0
"""Most that the log's time runs ahead of what passed, between two looks at the clock or two processes, in seconds."""

_NOTE = "INSERT INTO meta VALUES ('log_time', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def note_log_time(connection: Connection, *present: float) -> None:
    """Keep the log's time where its newest outcome does not tell it: because that is old, or about to be archived."""
    known = [moment for moment in (*present, *connection.execute(f"SELECT {_TIME}").fetchone()) if moment is not None]
    if known:
        connection.execute(_NOTE, (repr(max(known)),))


class LogClock:
    """Gives outcomes their time in the log, in the transaction that writes them.

    Attributes:
        present: The log's time now, in seconds since the epoch.
    """

    def __init__(self) -> None:
        self.present = time.time()
        self._looked = time.monotonic()
        self._doubt = 0.0  # by how much the wall's clock is believed to be ahead
        self._begun = False
        self._newest: float | None = None

    def read(self, connection: Connection) -> None:
        """Take in what others wrote."""
        self.hear(*connection.execute(f"SELECT {_TIME}").fetchone())

    def hear(self, newest: float | None, noted: float | None) -> None:
        """The same, from what was read: the time of the newest outcome, and what ``note_log_time`` kept."""
        self._newest = noted if newest is None else newest
        known = [moment for moment in (newest, noted) if moment is not None]
        if known:
            self.present = max([self.present, *known] if self._begun else known)
        self._begun = True

    def look(self) -> None:
        """Move on to now."""
        wall, looked = time.time(), time.monotonic()
        before, furthest = self.present, self.present + (looked - self._looked) + LEAP_S
        believed = wall - self._doubt
        if believed > furthest:
            self._doubt += believed - furthest
        elif believed < before:
            self._doubt = max(0.0, self._doubt - (before - believed))
        self.present, self._looked = max(before, min(wall - self._doubt, furthest)), looked

    def stamp(self, at: float) -> float:
        """The log's time of the next outcome, which its process dates ``at``."""
        self._newest = min(at, self.present) if self._newest is None else max(self._newest, min(at, self.present))
        return self._newest

    def stamp_copy(self, logged_at: float) -> float:
        """The same of an outcome that another log gave a time, which it keeps where it fits in here."""
        fitting = min(logged_at, self.present + LEAP_S)
        self._newest = fitting if self._newest is None else max(self._newest, fitting)
        return self._newest

    def note(self, connection: Connection) -> None:
        """Keep the present where the newest outcome is of long ago, such as one of a history that is imported."""
        if self._newest is not None and self.present - self._newest > LEAP_S:
            note_log_time(connection, self.present)
