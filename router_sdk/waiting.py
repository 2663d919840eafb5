"""Waiting for another thread, in ways that a signal handler may interrupt and use itself.

``threading.Event`` and ``concurrent.futures.Future`` guard their state with a lock that whoever waits or tells holds
for an instant. A signal handler that runs in that instant, on the main thread, and needs the same object waits for
itself. What is here is made of one primitive lock, which is never held across a line of Python.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

try:
    # What the standard library's wraps in a search for a name of the handler, twenty times as long.
    from _signal import getsignal  # type: ignore[import-not-found]
except ImportError:
    from signal import getsignal

T = TypeVar("T")

_NAP_S = 1.0
_LOOK_S = 0.001


def held_here(lock: threading.RLock) -> bool:
    """Whether the calling thread holds a lock: then it is who took it, or a signal handler that interrupted that."""
    held: bool = lock._is_owned()  # type: ignore[attr-defined]  # what threading.Condition asks, too
    return held


def until_ended(thread: threading.Thread, patience_s: float | None = None) -> None:
    """Wait until a thread has ended, or for so long.

    Up to Python 3.12 a ``join`` that a signal's handler cuts short by an exception takes a running thread for one that
    has ended, so that the next one would not wait. And a ``join`` in a handler that came just as the thread ended, in
    the midst of another one, waits for that, which waits for the handler. So each waits for a moment only.
    """
    deadline = math.inf if patience_s is None else time.monotonic() + patience_s
    while True:
        thread.join(min(_NAP_S, max(deadline - time.monotonic(), 0.0)))
        if thread not in threading.enumerate() or time.monotonic() >= deadline:
            return
        time.sleep(_LOOK_S)


def take(queue: deque[T], most: int) -> list[T]:
    """Remove up to ``most`` entries from the front, while others append."""
    taken: list[T] = []
    with contextlib.suppress(IndexError):
        while len(taken) < most:
            taken.append(queue.popleft())
    return taken


class Section:
    """Code on the main thread that our own signal handler lets come to its end first.

    It holds ``lock``, which no exception can leave taken, and calls ``left`` when it does not any more.

    Attributes:
        lock: Taken first of all, and given back last.
        postponed: What a handler wants done afterwards.
    """

    __slots__ = ("lock", "postponed")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.postponed: Callable[[], object] | None = None

    def left(self) -> None:
        """Do what was postponed."""
        work, self.postponed = self.postponed, None
        if work is not None:
            work()


committing = Section()
"""While the main thread commits."""

_SIGNALS = [
    int(number)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2")
    if (number := getattr(signal, name, None)) is not None
]
_HARMLESS: set[object] = {signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None}


def ours(handler: Callable[..., object]) -> None:
    """A signal handler that waits for ``committing``."""
    _HARMLESS.add(handler)


def may_be_interrupted() -> bool:
    """Whether a handler of the program's own could run on this thread at any moment, and call us from there."""
    if threading.get_ident() != threading.main_thread().ident:
        return False
    for number in _SIGNALS:  # noqa: SIM110  # a generator takes three times as long
        if getsignal(number) not in _HARMLESS:
            return True
    return False


class Bell:
    """Wakes one thread. Rung while that thread works, it is heard as soon as the thread listens again."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread; ringing twice is ringing once."""
        if not self._lock.locked():
            return  # it was rung already, and not heard yet
        try:
            self._lock.release()
        except RuntimeError:
            return  # another one was faster

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until the bell rings, or for so many seconds; whether it rang."""
        return self._lock.acquire(timeout=-1.0 if seconds is None else max(0.0, min(seconds, threading.TIMEOUT_MAX)))


class Promise(Generic[T]):
    """What one thread will bring and others wait for.

    Attributes:
        done: Whether it was kept, or failed.
    """

    __slots__ = ("_asleep", "_error", "_value", "done")

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._value: T | None = None
        self._error: BaseException | None = None
        self.done = False

    @property
    def error(self) -> BaseException | None:
        """Why there will be no value, once that is settled."""
        return self._error

    def keep(self, value: T) -> None:
        """Bring the value."""
        self._value = value
        self.done = True
        self.wake()

    def fail(self, error: BaseException) -> None:
        """Say why there will be none."""
        self._error = error
        self.done = True
        self.wake()

    def run(self, work: Callable[[], T]) -> None:
        """Bring what ``work`` returns, or fail with what it raises."""
        try:
            value = work()
        except BaseException as error:
            self.fail(error)
        else:
            self.keep(value)

    def wake(self) -> None:
        """Let one that waits look whether it is settled."""
        try:
            self._asleep.release()
        except RuntimeError:
            return

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until it is settled, or for so many seconds; whether it is."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.done:
            left = _NAP_S if deadline is None else min(_NAP_S, deadline - time.monotonic())
            if left <= 0.0:
                break
            self._asleep.acquire(timeout=left)
        if self.done:
            self.wake()  # the next one that waits
        return self.done

    def result(self) -> T:
        """The value, waited for.

        Raises:
            BaseException: what the work raised.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]
