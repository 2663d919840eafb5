"""The one background thread: follows the log, moves the folds on, snapshots them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from router_sdk.errors import FAULTS, RouterClosedError, RouterError
from router_sdk.learning.folding import Folding
from router_sdk.learning.following import Following
from router_sdk.learning.pace import BATCH, COURTESY, PAUSE_S, POLL_S, REPLAY_BATCH, SWEEP_S, Every
from router_sdk.store.events import LearningEvent, merged, sweep_pending, write_learning_events
from router_sdk.store.transaction import HEAD
from router_sdk.waiting import Bell, Promise, take, until_ended

if TYPE_CHECKING:
    from router_sdk.learning.fold import Fold
    from router_sdk.learning.performance import Performance
    from router_sdk.rewards import RewardMark
    from router_sdk.store import Store

T = TypeVar("T")

_PATIENCE_S = 0.5
"""How long ``close`` waits before it suspects that a strategy is waiting for something that takes long."""

_log = logging.getLogger(__name__)


class Learner:
    """Learns in micro-batches: ``batch_events`` outcomes or ``batch_seconds``, whichever comes first.

    All folding happens on one thread; whoever needs it to happen now waits for that thread.

    Args:
        store: The log.
        folds: What to move on; the figures that learning events report come from ``performance``.
        performance: One of the folds' states.
        mark: What turns outcomes into rewards, with its fingerprint.
        enabled: False restores what was learnt and stays there.
        batch_events: Outcomes that start an update.
        batch_seconds: Longest that an outcome waits, in seconds.
        snapshot_seconds: Time between snapshots, in seconds.
        pending_ttl_seconds: How long outcomes wait for their decision.
        after_update: Called on the learner's thread after each update.
        on_poll: Called on the learner's thread about once a second.

    Attributes:
        folding: What is learnt.
    """

    def __init__(
        self,
        store: Store,
        folds: Sequence[Fold],
        performance: Performance,
        mark: RewardMark,
        *,
        enabled: bool,
        batch_events: int,
        batch_seconds: float,
        snapshot_seconds: float,
        pending_ttl_seconds: float,
        after_update: Callable[[], None],
        on_poll: Callable[[], None],
    ) -> None:
        self._store, self._performance, self._enabled = store, performance, enabled
        self._batch_events, self._batch_seconds = batch_events, batch_seconds
        self._snapshot_seconds, self._pending_ttl_seconds = snapshot_seconds, pending_ttl_seconds
        self._after_update, self._on_poll = after_update, on_poll
        self._closed = False
        self.folding = Folding(store, folds, mark, enabled=enabled)
        self._following = Following(store, self.folding, after_update)
        self._journal: list[LearningEvent] = []
        self._start()
        self.folding.restore_all()
        self.folding.to_head("replay", REPLAY_BATCH, after_update, lambda seconds: None)

    def _start(self) -> None:
        self._bell = Bell()
        self._urgent = Bell()
        """Rung for who waits for the thread: it cuts the thread's rests short."""
        self._requests: deque[tuple[Callable[[], object], Promise[object]]] = deque()
        self._recorded = 0
        self._waiting_since: float | None = None
        self._ended = False
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()

    # -- called from any thread

    def notify(self, recorded: int) -> None:
        """Outcomes were committed; called on the writer's thread, so it only counts and wakes."""
        self._recorded += recorded
        if (self._enabled and self._recorded >= self._batch_events) or self._thread is None:
            self._recorded = 0
            self.wake()

    def wake(self) -> None:
        """Let the thread look around now, starting it at first use."""
        self._bell.ring()
        if self._thread is None:
            with self._thread_lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="router-learner", daemon=True)
                    self._thread.start()

    def submit(self, work: Callable[[], T]) -> Promise[T]:
        """Run ``work`` on the learner's thread.

        Raises:
            RouterClosedError: if the learner was closed.
        """
        if self._closed:
            raise RouterClosedError()
        promise: Promise[T] = Promise()
        self._requests.append((work, promise))  # type: ignore[arg-type]
        if self._ended:  # the thread may not have seen it
            self._refuse_the_rest()
        self._urgent.ring()
        self.wake()
        return promise

    def drain(self) -> None:
        """Return once everything recorded before the call has been learnt."""
        self.submit(self._catch_up).result()

    def replace(self, fold: Fold, swap: Callable[[], None]) -> None:
        """Put a fold in the place of the one of its name, and call ``swap`` in between two updates.

        The new one has learnt what the others have by then; requests are served meanwhile.
        """
        self.submit(partial(self.replace_here, fold, swap)).result()

    def snapshot(self) -> None:
        """Return once the folds' states are saved."""
        self.submit(self.folding.save).result()

    def resave(self) -> None:
        """Save anew, although nothing was learnt since: the snapshots were discarded."""
        self.submit(partial(self.folding.save, anew=True)).result()

    def status(self) -> dict[str, object]:
        """Where the folds stand, as JSON values; ``lag`` is how many events of the log this process has not learnt."""
        head, lag = self.position()
        leads = self._following.leads
        return {"enabled": self._enabled, "leads": leads, "head": head, "lag": lag, **self.folding.status()}

    def position(self) -> tuple[int, int]:
        """Where the log ends, and how many events of it this process has not learnt."""
        head: int = self._store.reader.query(lambda connection: connection.execute(HEAD).fetchone()[0])
        return head, max(head - self.folding.cursor, 0)

    def close(self, *, hurry: bool = False, impatient: Callable[[], object] = lambda: None) -> None:
        """Learn the rest, save, and stop the thread; in a hurry the rest is left to the next start.

        Whoever calls it while another one is at it, or after it was cut short, waits for the same.

        Args:
            hurry: Whether to learn nothing more.
            impatient: Called where that takes a while, to end what a strategy that learns may be waiting for.
        """
        self.wake()
        last: Promise[object] = Promise()
        self._requests.append((self.folding.save if hurry else self._finish, last))
        self._closed = True
        if self._ended:
            self._refuse_the_rest()
        self._urgent.ring()
        self._bell.ring()
        try:
            with suppress(RouterClosedError):  # somebody was faster, or has closed the log before
                if not last.wait(_PATIENCE_S):
                    impatient()
                last.result()
        finally:
            if self._thread is not None:
                until_ended(self._thread)
            self.folding.close()

    def before_fork(self) -> None:
        """Wait for the update in hand, and close the view of the log."""
        self.folding.lock.acquire()
        self.folding.close()

    def after_fork_in_parent(self) -> None:
        """Go on with a new view."""
        self.folding.reopen()
        self.folding.lock.release()

    def after_fork(self) -> None:
        """In a child: a thread and a view of the log of its own, at first use."""
        self._start()
        self._journal = []  # the parent's to write
        self._performance.after_fork()
        self.folding.after_fork()
        self._following.after_fork()

    # -- on the learner's thread

    def _run(self) -> None:
        """Look around whenever woken, at least once a second."""
        self._store.hear()
        poll, sweep = Every(POLL_S, at_once=True), Every(SWEEP_S, at_once=True)
        snapshot = Every(self._snapshot_seconds)
        while not self._closed or self._requests:
            self._bell.wait(self._timeout())
            self._serve()
            try:
                polls = poll.due()
                if polls:
                    self._meet()
                with self.folding.lock:  # who forks closes the view of the log while it holds it
                    due = self._enabled and self._due()
                    head = self.folding.tail.head() if due else 0
                if due:
                    if self._following.left_to_leader(head):
                        self._bell.ring()  # to look again soon what the leader published
                    else:
                        self._update()
                    self._rest(PAUSE_S)
                if polls:
                    self._heed()
                    self._write_journal()
                    self._on_poll()
                if snapshot.due():
                    self.folding.save(others=self._following.saved_for)
                if sweep.due() and not self._store.read_only:
                    sweep_pending(self._store.writer, self._pending_ttl_seconds)
            except RouterClosedError:
                _log.debug("the store was closed while the learner was at work", exc_info=True)
            except FAULTS:
                _log.exception("the learner goes on after a fault")
        self._ended = True
        self._refuse_the_rest()

    def _timeout(self) -> float:
        waited_from = time.monotonic() if self._waiting_since is None else self._waiting_since
        return min(POLL_S, self._batch_seconds, max(0.0, waited_from + self._batch_seconds - time.monotonic()))

    def _serve(self) -> None:
        while self._requests:
            work, promise = self._requests[0]
            try:
                promise.run(work)
            finally:
                self._requests.popleft()  # only now: while somebody waits for it, nobody rests

    def _refuse_the_rest(self) -> None:
        """Whoever asked before the end was served, whoever asks later is told."""
        for _, promise in take(self._requests, len(self._requests)):
            promise.fail(RouterClosedError())

    def _due(self) -> bool:
        """Whether enough outcomes wait, of this process or another, or one has waited long enough."""
        cursor, tail = self.folding.cursor, self.folding.tail
        waiting = tail.waiting(cursor, self._batch_events)
        if not waiting and tail.head() <= cursor:
            self._waiting_since = None
            return False
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return waiting >= self._batch_events or now - self._waiting_since >= self._batch_seconds

    def _update(self) -> None:
        """Learn everything up to the head of the log."""
        self._waiting_since = None
        self._heed()
        if not self._enabled:
            return
        self._following.take_over()
        before = self._performance.score()
        events = self.folding.to_head("learn", BATCH, self._moved, self._pause)
        self._following.abreast()
        after = self._performance.score()
        self._journal += [replace(event, before=before, after=after) for event in merged(events)]

    def _moved(self) -> None:
        self._after_update()
        self._following.publish()

    def _pause(self, seconds: float) -> None:
        """Rest between two batches, where other processes wait for this one, less."""
        self._rest(seconds / COURTESY if self._following.awaited else seconds)

    def _meet(self) -> None:
        """Learn for the other processes on the store, where none of them does."""
        if self._enabled and not (self._closed or self._store.read_only):
            self._following.look()
            self._following.publish()

    def _heed(self) -> None:
        """Leave out what is quarantined by now; what would take too long at the end is left to the next start."""
        if self._closed:
            return

        def rest(seconds: float) -> None:
            if self._closed:
                raise RouterClosedError
            self._rest(seconds)

        events = self.folding.heed(self._after_update, rest)
        if events and self._enabled:
            self._journal += events
            with suppress(RouterError, OSError):  # it is said, and tried again
                self.folding.save()  # so that nobody has to go back again

    def _write_journal(self) -> None:
        """Write the learning events, many at once: each transaction holds up those who record."""
        if self._journal:
            write_learning_events(self._store.writer, self._journal)
            self._journal = []

    def _rest(self, seconds: float) -> None:
        """Let requests go first, unless somebody waits for the learner."""
        if not (self._closed or self._requests):
            self._urgent.wait(seconds)

    def replace_here(self, fold: Fold, swap: Callable[[], None]) -> None:
        """``replace``, for who is on the learner's thread already."""
        self._journal += self.folding.replace(fold, swap)
        self._after_update()

    def take_in(self, folds: Sequence[Fold]) -> None:
        """Go on with these, too, once they know what the others do. For who is on the learner's thread already."""
        self._journal += [event for event in self.folding.take_in(folds) if event.error is not None]

    def _catch_up(self) -> None:
        self._update()
        self._write_journal()

    def _finish(self) -> None:
        self._catch_up()
        self.folding.save()
