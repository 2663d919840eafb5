"""Group commit: one thread writes; whoever wants something on disk hands it over and sleeps.

What waits is committed together, up to 64 outcomes and 64 decisions in one transaction (1,024 where many wait), so that
callers share the time that the disk takes. Decisions made by ``route`` wait in a second, bounded queue. As callers hold
nothing, an exception or a signal in one leaves nothing locked or half done, and a signal handler may itself record, or
close the router, whatever it interrupted.

One caller alone spares itself the two changes of thread, a fifth of the time: it commits itself, unless a signal
handler of the program could come in between.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from router_sdk.errors import (
    InvalidOutcomeError,
    RouterClosedError,
    RouterError,
    StoreBusyError,
    StoreUnavailableError,
    TooManyOutcomesError,
)
from router_sdk.store.rows import ENOUGH, Entry
from router_sdk.store.transaction import Committer, Ticket, settle
from router_sdk.waiting import Bell, Promise, committing, held_here, may_be_interrupted, take, until_ended

if TYPE_CHECKING:
    from router_sdk.engine import Connection, Writing
    from router_sdk.records import Decision
    from router_sdk.store.privacy import Privacy

T = TypeVar("T")

GROUP_SIZE = 64
"""Most outcomes in one transaction, and most decisions unless 256 and more wait."""
TIMEOUT_S = 30.0
"""Longest that a caller waits for a store that another process keeps locked."""

_BACKLOG, _COMPANY_S, _RETRY_S = 256, 0.02, 0.5

_log = logging.getLogger(__name__)


class LogWriter:
    """The only writer of this process to the log.

    Args:
        writing: The writing end of this process.
        privacy: What of a text may be stored.
        queue_size: Decisions that may wait; beyond it ``offer`` refuses.
        unavailable: Exceptions that say that the database cannot be reached now.
        on_commit: Called after each commit with the number of outcomes in it.
        timeout_s: Longest that a caller waits for a locked store, in seconds.
    """

    def __init__(
        self,
        writing: Writing,
        privacy: Privacy,
        *,
        unavailable: tuple[type[Exception], ...],
        queue_size: int,
        on_commit: Callable[[int], None],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._queue_size, self._on_commit, self._timeout_s = queue_size, on_commit, timeout_s
        self._unavailable: tuple[type[Exception], ...] = (RouterError, OSError, *unavailable)
        self._committer = Committer(writing, privacy)
        self._closed = False
        self._start()

    def _start(self) -> None:
        """Fresh queues and no thread: at construction, and in a forked child."""
        self._tickets: deque[Ticket] = deque()
        self._decisions: deque[Decision] = deque()
        self._jobs: deque[tuple[Callable[[float], object], float, Promise[object]]] = deque()
        self._bell = Bell()
        self._rung = self._ended = self._crowded = self._at_work = False
        self._leader = 0
        self._trouble = ""
        self._unsure = False  # whether a caller was interrupted, before or after what is queued was on disk
        self._nudging: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._busy = threading.RLock()  # held by who writes: the thread, or a caller alone; and around a fork

    def append(self, entries: Sequence[Entry]) -> None:
        """Return once every entry is on disk, all in one transaction.

        Raises:
            StoreUnavailableError: if the log could not be written; nothing of it is stored.
            InvalidOutcomeError: if the database refused a row; nothing of it is stored.
            RouterClosedError: if the store was closed.
        """
        ticket = Ticket(entries, time.monotonic() + self._timeout_s)
        if self._alone():
            self._commit_here(ticket)
        else:
            self._queue(ticket)
            self._ring()
            try:
                self._serve_here()
                ticket.wait()
            finally:
                ticket.leave()
        if ticket.error is not None:
            raise ticket.error

    def _alone(self) -> bool:
        """Whether the caller may commit itself: nobody else writes, waits or did lately, and nothing can come between.

        Raises:
            StoreUnavailableError: where a finalizer calls, in the midst of a commit of its own thread.
        """
        if self._leader == threading.get_ident():
            raise StoreUnavailableError("record was called by a finalizer, from within record; record it again later")
        idle = not (self._crowded or self._tickets or self._jobs or self._closed or self._at_work)
        return idle and not may_be_interrupted()

    def _commit_here(self, ticket: Ticket) -> None:
        me = threading.get_ident()
        main = me == threading.main_thread().ident
        try:
            # Locks leave no moment in which an exception could find them taken and not guarded.
            with committing.lock if main else nullcontext(), self._busy:
                try:
                    self._leader, self._at_work = me, True
                    self._commit([ticket], self._first_decisions() if self._decisions else [], ticket.deadline)
                finally:
                    self._leader, self._at_work = 0, False
        finally:
            if main:
                committing.left()

    async def aappend(self, entries: Sequence[Entry]) -> None:
        """``append`` for coroutines: the event loop is woken once per group."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        ticket = Ticket(entries, time.monotonic() + self._timeout_s, future)
        self._queue(ticket)
        if self._nudging is not loop:
            self._nudging = loop
            loop.call_soon(self._nudge)  # once all that are ready now have queued theirs
        await future
        if ticket.error is not None:
            raise ticket.error

    def _queue(self, ticket: Ticket) -> None:
        if self._closed:
            raise RouterClosedError(_CLOSED)
        self._tickets.append(ticket)
        if self._ended:  # the thread may not have seen it
            self._refuse_the_rest()

    def _nudge(self) -> None:
        self._nudging = None
        self._ring()

    def offer(self, decision: Decision) -> bool:
        """Queue a decision without waiting; False if the queue is full, or closed, and the decision was not taken."""
        if len(self._decisions) >= self._queue_size:
            return False
        self._decisions.append(decision)
        if self._ended:  # the thread may have taken it all the same
            with suppress(ValueError):
                self._decisions.remove(decision)
                return False
        if not self._rung:
            self._ring()
        return True

    def transact(self, work: Callable[[Connection, int], T]) -> T:
        """Run ``work(connection, next_seq)`` on the writer's thread, in a write transaction of its own.

        Raises:
            StoreUnavailableError: if the log cannot be written.
        """
        return self._do(lambda deadline: self._committer.transact(work, deadline))

    def scrub(self) -> bool:
        """Let nothing erased be left in what the database keeps of recent writes; False if a reader still needs it.

        It never waits for readers: the store is locked meanwhile. Ask again.
        """
        return self._do(self._committer.writing.scrub)

    def _do(self, work: Callable[[float], T]) -> T:
        if threading.current_thread() is self._thread:
            return work(time.monotonic() + self._timeout_s)
        if self._closed:
            raise RouterClosedError(_CLOSED)
        promise: Promise[T] = Promise()
        self._jobs.append((work, time.monotonic() + self._timeout_s, promise))  # type: ignore[arg-type]
        if self._ended:
            self._refuse_the_rest()
        self._ring()
        self._serve_here()
        try:
            return promise.result()
        except RouterError:
            raise
        except self._unavailable as error:
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
        if self._tickets or self._decisions or self._at_work:
            self._do(self._write_all)

    def close(self, *, patient: bool = True) -> None:
        """Flush, stop the thread and close the file. Later calls raise ``RouterClosedError``.

        Whoever calls it while another one is at it, or after it was cut short, waits for the same.
        """
        if self._ended and self._closed:
            self._ring()  # who was cut short may have woken nobody
            if self._thread is not None and self._thread is not threading.current_thread():
                until_ended(self._thread, _PARTING_S)
            return
        self._closed = True
        promise: Promise[None] = Promise()
        deadline = time.monotonic() + (self._timeout_s if patient else 0.0)
        self._jobs.append((self._finish, deadline, promise))  # type: ignore[arg-type]
        self._ring()
        if not self._serve_here() and self._thread is not None:
            until_ended(self._thread)
            self._refuse_the_rest()
        with suppress(RouterClosedError):  # somebody was faster
            promise.result()

    def before_fork(self) -> None:
        """Wait for the commit in hand, and close the connection."""
        self._busy.acquire()
        self._at_work = True
        self._committer.disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._at_work = False
        self._busy.release()

    def _serve_here(self) -> bool:
        """Do what waits, where a signal handler calls in the midst of a fork: before that is over, nobody else can."""
        if not held_here(self._busy) or self._leader == threading.get_ident():
            return False
        self._serve()
        if not self._ended:
            self._committer.disconnect()
        return True

    def after_fork(self) -> None:
        """In a child: leave what waits, the locks and the connection to the parent, and start afresh."""
        self._committer.writing.after_fork()
        self._start()

    def _ring(self) -> None:
        """Let the thread look around, starting it at first use."""
        self._rung = True
        self._bell.ring()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="router-log", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        retry: float | None = None
        while not self._ended:
            self._bell.wait(retry)
            if self._decisions and not (self._tickets or self._jobs):
                self._bell.wait(_COMPANY_S)  # decisions can wait a little for company; outcomes never do
            self._rung = False  # before the queues are read: whoever comes later rings again
            with self._busy:
                self._at_work = True
                try:
                    retry = None if self._serve() else _RETRY_S
                except Exception:
                    _log.exception("the writer goes on after a fault")
                self._at_work = False
        self._refuse_the_rest()

    def _serve(self) -> bool:
        """Commit what waits, and do what was asked for; False if the log cannot be written."""
        while self._tickets or self._decisions or self._jobs:
            written = self._commit_group(time.monotonic() + self._timeout_s)
            if self._jobs:
                work, deadline, promise = self._jobs.popleft()
                promise.run(partial(work, deadline))
            elif not written and not self._tickets:
                return False
        return True

    def _write_all(self, deadline: float) -> None:
        while self._tickets or self._decisions:
            if not self._commit_group(deadline):
                raise StoreUnavailableError(f"decisions stay queued: {self._trouble}")

    def _finish(self, deadline: float) -> None:
        """The last thing that the thread does."""
        if self._ended:
            return
        try:
            self._write_all(deadline)
            self._ended = True  # whoever queues a decision from now on looks whether it was taken
            self._write_all(deadline)
        finally:
            self._ended = True
            self._committer.writing.close()

    def _refuse_the_rest(self) -> None:
        closed = RouterClosedError(_CLOSED)
        settle(take(self._tickets, len(self._tickets)), closed)
        for _, _, promise in take(self._jobs, len(self._jobs)):
            promise.fail(closed)

    def _commit_group(self, deadline: float) -> bool:
        """Commit what waits, up to the group size; False if the log cannot be written."""
        tickets, decisions = take(self._tickets, GROUP_SIZE), self._first_decisions()
        self._crowded = len(tickets) > 1
        if not (tickets or decisions):
            return True
        return self._commit(tickets, decisions, min([deadline, *(ticket.deadline for ticket in tickets)]), True)

    def _first_decisions(self) -> list[Decision]:
        """What of the decisions to commit next; it stays queued until it is on disk, whatever interrupts us."""
        self._drop_durable()
        most = GROUP_SIZE if len(self._decisions) < _BACKLOG else 4 * _BACKLOG  # who computes lets us in too seldom
        queued = [self._decisions[i] for i in range(min(len(self._decisions), most))]
        return [decision for decision in queued if not decision.durable]

    def _drop_durable(self) -> None:
        while self._decisions and self._decisions[0].durable:
            self._decisions.popleft()

    def _commit(self, tickets: list[Ticket], decisions: list[Decision], deadline: float, open: bool = False) -> bool:
        entries = [entry for each in tickets for entry in each.entries]
        unsure, self._unsure = self._unsure, True

        def join() -> None:  # who came while others had the store
            if open and self._tickets and not unsure:
                tickets.extend(late := take(self._tickets, GROUP_SIZE - len(tickets)))
                entries.extend(entry for each in late for entry in each.entries)
                decisions[:] = self._first_decisions()

        written = False
        error: RouterError | None = None
        try:
            entries += [Entry(decision=decision) for decision in decisions] if unsure else []
            self._committer.insert(entries, () if unsure else decisions, deadline, join)
        except StoreBusyError as fault:  # who came later may wait longer
            late = [ticket for ticket in tickets if ticket.deadline <= time.monotonic()]
            self._tickets.extendleft(reversed([ticket for ticket in tickets if ticket not in late]))
            tickets, error, self._trouble = late, fault, str(fault)
        except self._unavailable as fault:
            self._trouble = f"the log cannot be written: {fault}"
            error = StoreUnavailableError(f"{self._trouble}; record it again later")
        except Exception as fault:
            if len(tickets) + len(decisions) > 1:  # one row spoilt the group: commit the others without it
                return all(
                    [self._commit([ticket], [], deadline) for ticket in tickets]
                    + [self._commit([], [decision], deadline) for decision in decisions]
                )
            kind = TooManyOutcomesError if ENOUGH in str(fault) else InvalidOutcomeError
            written, error = True, kind(f"the log refused the row: {fault}")
            for decision in decisions:
                _log.error("the log refused decision %s: %s", decision.decision_id, fault)
                self._decisions.remove(decision)
        else:
            written = True
            for decision in (*decisions, *[one for _, _, one, _ in entries if one is not None]):
                decision.durable = True
            self._drop_durable()
        self._unsure = unsure and not (written and decisions)
        settle(tickets, error)
        if written and error is None:
            self._on_commit(len([1 for outcome, _, _, _ in entries if outcome is not None]))
        return written


_PARTING_S, _CLOSED = 1.0, "the store was closed; open a new router on it"
