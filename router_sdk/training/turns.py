"""Who fits when: one fit of a strategy at a time, so many in a process, and one process on a store.

Fits that were asked for wait their turn in order. What waits behind a strategy that is being fitted lets others pass.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import FitError, RouterClosedError
from router_sdk.waiting import until_ended

if TYPE_CHECKING:
    from router_sdk.routing.chain import Stage
    from router_sdk.training.attempt import Source
    from router_sdk.training.fit import Fit

_PAUSE_S = 2.0
"""How long nothing is begun after a fit was interrupted."""
_MOST_WAITING = 16
"""Fits that may wait for those that are running."""


class Asked(NamedTuple):
    """A fit that was asked for, and from what."""

    fit: Fit
    stage: Stage
    settings: Mapping[str, Any]
    source: Source | None


class Turns:
    """The fits of one process on one store.

    Args:
        lease: Held by one process on the store while it fits, see ``Engine.lease``.
        most: How many fits may run at once, each of another strategy.
        run: Sees a fit through, on a thread of its own; told the number of the newest attempt at its strategy when it
            was begun.
        last: That number.

    Attributes:
        newest: The fit that was begun last, or None.
    """

    def __init__(
        self,
        lease: Callable[[], AbstractContextManager[object]],
        most: int,
        run: Callable[[Asked, int], None],
        last: Callable[[str], int],
    ) -> None:
        self._lease, self._most, self._run, self._last = lease, most, run, last
        self.newest: Fit | None = None
        self._closed = False
        self._not_before = 0.0
        self._begin_again()

    def _begin_again(self) -> None:
        self.lock = threading.RLock()
        self._waiting: deque[Asked] = deque()
        self._running: dict[str, tuple[Fit, threading.Thread]] = {}
        self._held = ExitStack()
        self._holders = 0

    # -- this process

    @property
    def running(self) -> list[Fit]:
        """The fits that go on, in the order in which they began."""
        return [fit for fit, _ in list(self._running.values()) if fit.running]

    @property
    def busy(self) -> frozenset[str]:
        """The strategies that are being fitted."""
        return frozenset(fit.strategy for fit in self.running)

    @property
    def idle(self) -> bool:
        """Whether a fit may begin by itself: nobody waits, there is room, and nothing is to be left in peace."""
        peace = self._closed or time.monotonic() < self._not_before
        return not (peace or self._waiting) and len(self.running) < self._most

    def begin(self, asked: Asked, after: int) -> bool:
        """Begin a fit if its turn has come; ``after`` is the number of the newest attempt when it became due."""
        with self.lock:
            free = not self._closed and len(self.running) < self._most and asked.stage.name not in self.busy
            if free:
                self.newest = fit = asked.fit
                fit.state, fit.words = "running", "starting"
                thread = threading.Thread(target=self._run, args=(asked, after), name="router-fit", daemon=True)
                self._running.pop(fit.strategy, None)
                self._running[fit.strategy] = fit, thread
                thread.start()
            return free

    def ask(self, asked: Asked) -> Fit:
        """Begin a fit, or let it wait; a fit of the same kind that has waited so far is returned instead.

        Raises:
            RouterClosedError: if nothing is begun any more.
            FitError: if too many wait.
        """
        fit, stage, _, source = asked
        with self.lock:
            if self._closed:
                raise RouterClosedError
            self._drop_stopped()
            same = (one.fit for one in self._waiting if one[1:] == (*asked[1:3], None))
            alike = next(same, None) if source is None else None
            if alike is not None:  # it has not read the log yet
                return alike
            if not self.begin(asked, self._last(stage.name)):
                if len(self._waiting) >= _MOST_WAITING:
                    raise FitError(f"{_MOST_WAITING} fits wait already: stop some, or wait for them")
                fit.wait_for_turn()
                self._waiting.append(asked)
            return fit

    def go_on(self) -> None:
        """Begin what has waited longest and whose turn has come, unless something is to be left in peace."""
        with self.lock:
            self._drop_stopped()
            if not self._closed and time.monotonic() >= self._not_before:
                for asked in list(self._waiting):
                    if self.begin(asked, self._last(asked.stage.name)):
                        self._waiting.remove(asked)

    def rest(self, seconds: float) -> None:
        """Begin nothing for so long."""
        self._not_before = time.monotonic() + seconds

    def _drop_stopped(self) -> None:
        """Fits that were stopped before their turn came have ended."""
        for asked in [one for one in self._waiting if self._closed or one.fit.stopped()]:
            self._waiting.remove(asked)
            asked.fit.end("stopped", "it was stopped before its turn came")

    # -- and others

    @contextmanager
    def among_processes(self) -> Iterator[None]:
        """Held by the process that fits on this store, by each of its fits; it ends with its process.

        Raises:
            TimeoutError: where another process holds it.
        """
        with self.lock:
            if not self._holders:
                self._held.enter_context(self._lease())
            self._holders += 1
        try:
            yield
        finally:
            with self.lock:
                self._holders -= 1
                if not self._holders:
                    self._held.close()

    def alone(self) -> AbstractContextManager[object]:
        """Held by who finishes what a fit left; entering it raises ``TimeoutError`` where anybody fits.

        Should two processes hold it all the same, because somebody deleted the file, the alias's token fences off the
        one that promotes last.
        """
        return self._lease()

    # -- the end

    def interrupt(self) -> None:
        """Stop what is running, and return once it has ended; it may be begun again."""
        with self.lock:
            running = list(self._running.values())
            self.rest(_PAUSE_S)
        for fit, _ in running:
            fit.stop()
        for _, thread in running:
            if thread is not threading.current_thread():
                until_ended(thread)

    def close(self) -> None:
        """Stop what is running, and begin nothing more."""
        with self.lock:
            self._closed = True
            self._drop_stopped()
        self.interrupt()

    def after_fork(self) -> None:
        """In a child: nothing is running. The parent's lock is its own to give back."""
        self._parents = self._held
        self._begin_again()
        self.newest = None
