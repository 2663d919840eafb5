"""Group commit: whoever finds the commit lock free commits for all that wait.

A caller of ``append`` queues its ticket. If nobody is committing, it commits what waits; otherwise it sleeps, and
is woken because its ticket was committed, or to lead the next group. Decisions made by ``route`` wait in a second,
bounded queue and ride along; a background thread commits them, and the tickets of coroutines, where no caller
comes by.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from router_sdk.errors import InvalidOutcomeError, RouterClosedError, RouterError, StoreUnavailableError
from router_sdk.store.commit import Committer
from router_sdk.store.ticket import Entry, Ticket, settle, take

if TYPE_CHECKING:
    from router_sdk.records import Decision
    from router_sdk.store.privacy import TextFilter

T = TypeVar("T")

GROUP_SIZE = 64
"""Most outcomes, and most decisions, in one transaction."""

_FLUSH_S = 0.02
_RETRY_S = 0.5

_log = logging.getLogger(__name__)


class LogWriter:
    """The only writer of this process to the log.

    Args:
        path: The database file.
        keep: What of a text may be stored.
        queue_size: Decisions that may wait; beyond it ``offer`` refuses.
        durable: False gives up durability for speed; for throw-away stores only.
        on_commit: Called after each commit with the number of outcomes in it.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(
        self, path: Path, keep: TextFilter, *, queue_size: int, durable: bool, on_commit: Callable[[int], None]
    ) -> None:
        self._queue_size, self._on_commit = queue_size, on_commit
        self._committer = Committer(path, keep, durable=durable)
        self._closed = False
        self._start()

    def _start(self) -> None:
        """Fresh queues and locks, and no thread: at construction, and in a forked child."""
        self._tickets: deque[Ticket] = deque()
        self._decisions: deque[Decision] = deque()
        self._commit_lock = threading.Lock()
        self._wanted = threading.Event()
        self._hurry = threading.Event()
        self._nudging: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()

    # -- callers

    def append(self, entries: Sequence[Entry]) -> None:
        """Return once every entry is on disk, all in one transaction.

        Raises:
            StoreUnavailableError: if the log could not be written; nothing of it is stored.
            InvalidOutcomeError: if the database refused a row; nothing of it is stored.
            RouterClosedError: if the store was closed.
        """
        self._check_open()
        ticket = Ticket(entries)
        self._tickets.append(ticket)
        try:
            self._wait_or_lead(ticket)
        finally:
            if ticket.follower is not None:
                ticket.follower.wake()
        if ticket.error is not None:
            raise ticket.error

    def _wait_or_lead(self, ticket: Ticket) -> None:
        while not ticket.done:
            if self._commit_lock.acquire(blocking=False):
                try:
                    if not ticket.done:
                        self._commit_group()
                finally:
                    self._commit_lock.release()
                    self._wake_leader()
            else:
                ticket.sleep()

    async def aappend(self, entries: Sequence[Entry]) -> None:
        """``append`` for coroutines: the background thread commits, and wakes the event loop once per group."""
        self._check_open()
        loop = asyncio.get_running_loop()
        ticket = Ticket(entries, loop.create_future())
        self._tickets.append(ticket)
        if self._nudging is not loop:
            self._nudging = loop
            loop.call_soon(self._nudge)  # once all that are ready now have queued theirs
        assert ticket.future is not None
        await ticket.future
        if ticket.error is not None:
            raise ticket.error

    def offer(self, decision: Decision) -> bool:
        """Queue a decision without waiting; False if the queue is full and the decision was not taken."""
        if len(self._decisions) >= self._queue_size:
            return False
        self._decisions.append(decision)
        if not self._wanted.is_set():
            self._want()
        return True

    def transact(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """Run ``work(connection, next_seq)`` in a write transaction of its own.

        Raises:
            StoreUnavailableError: if the log cannot be written.
        """
        return self._alone(lambda: self._committer.transact(work))

    def exclusive(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` outside any transaction while nobody else on this machine commits; for checkpoints."""
        return self._alone(lambda: self._committer.exclusive(work))

    def _alone(self, work: Callable[[], T]) -> T:
        self._check_open()
        with self._committing():
            try:
                return work()
            except sqlite3.OperationalError as error:
                raise StoreUnavailableError(f"the log cannot be written: {error}") from error

    @property
    def waiting(self) -> int:
        """Decisions that are not on disk yet."""
        return len(self._decisions)

    def flush(self) -> None:
        """Return once everything queued before the call is on disk.

        Raises:
            StoreUnavailableError: if the log cannot be written; what waits stays queued.
        """
        while self._tickets or self._decisions:
            with self._committing():
                written = self._commit_group()
            if not written:
                raise StoreUnavailableError("the log cannot be written; decisions stay queued")
        with self._committing():  # a group that another thread took before is on disk once it lets go
            pass

    def close(self) -> None:
        """Flush, stop the thread and close the file. Later calls raise ``RouterClosedError``."""
        if self._closed:
            return
        self._closed = True
        self._hurry.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.flush()
        finally:
            with self._committing():
                self._committer.close()

    def before_fork(self) -> None:
        """Wait for the commit in hand, and close the connection."""
        self._commit_lock.acquire()
        self._committer.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._commit_lock.release()
        self._wake_leader()

    def after_fork(self) -> None:
        """In a child: leave what waits, the locks and the connection to the parent, and start afresh."""
        self._committer.after_fork()
        self._start()

    def _check_open(self) -> None:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")

    # -- committing, with the commit lock held

    def _commit_group(self) -> bool:
        """Commit what waits, up to the group size; False if the log cannot be written."""
        tickets = take(self._tickets, GROUP_SIZE)
        decisions = [decision for decision in take(self._decisions, GROUP_SIZE) if not decision.durable]
        return self._commit(tickets, decisions) if tickets or decisions else True

    def _commit(self, tickets: list[Ticket], decisions: list[Decision]) -> bool:
        entries = [entry for ticket in tickets for entry in ticket.entries]
        written = True
        error: RouterError | None = None
        try:
            self._committer.insert(entries, decisions)
        except (RouterError, sqlite3.OperationalError, OSError) as fault:
            written = False
            error = StoreUnavailableError(f"the log cannot be written: {fault}; record it again later")
            self._decisions.extendleft(reversed(decisions))
        except Exception as fault:
            if len(tickets) + len(decisions) > 1:  # one row spoilt the group: commit the others without it
                return all(
                    [self._commit([ticket], []) for ticket in tickets]
                    + [self._commit([], [decision]) for decision in decisions]
                )
            error = InvalidOutcomeError(f"the log refused the row: {fault}")
            for decision in decisions:
                _log.error("the log refused decision %s: %s", decision.decision_id, fault)
        except BaseException:  # the leader was interrupted: the others of its group must not wait for it
            self._decisions.extendleft(reversed(decisions))
            settle(tickets, StoreUnavailableError("the commit was interrupted; record it again"))
            raise
        else:
            for decision in decisions:
                decision.durable = True
            for _, _, carried in entries:
                if carried is not None:
                    carried.durable = True
            self._on_commit(sum(1 for entry in entries if entry.outcome is not None))
        settle(tickets, error)
        return written

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Hold the commit lock, however long that takes to get."""
        try:
            with self._commit_lock:
                yield
        finally:
            self._wake_leader()

    def _wake_leader(self) -> None:
        """Hand the lead to the first that still waits: it may have found the lock taken, whoever had it."""
        try:
            first = self._tickets[0]
        except IndexError:
            return
        if first.future is not None:
            self._nudge()
        else:
            first.wake()

    # -- the background thread

    def _nudge(self) -> None:
        """Coroutines wait: commit at once."""
        self._nudging = None
        self._hurry.set()
        self._want()

    def _want(self) -> None:
        """Ask the background thread to commit, starting it at first use."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None:
            with self._thread_lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="router-log", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._wanted.wait()
            self._wanted.clear()
            if self._decisions and not self._tickets and not self._closed:
                self._hurry.wait(_FLUSH_S)  # decisions can wait a little for company; outcomes never do
            self._hurry.clear()
            while self._tickets or self._decisions:
                with self._committing():
                    written = self._commit_group()
                if not written:
                    self._wanted.set()
                    self._hurry.wait(_RETRY_S)
                    break
