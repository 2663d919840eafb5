"""The learner's pace: what is due how often, how much at a time, on how many cores, and how long others go first."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

POLL_S = 1.0
"""Longest time between two looks at the log and the agents."""
SWEEP_S = 60.0
"""Time between two searches for outcomes whose decision never came."""
PAUSE_S = 0.1
"""Shortest time between two updates that nobody waits for."""
BATCH = 512
"""Log positions in an online batch: few, because the thread holds the interpreter lock while it learns."""
REPLAY_BATCH = 2_048
"""Log positions in a batch at start, when there is nobody to hold up."""

_COURTESY = 8.0


def rest_s(worked_s: float, backlog: int) -> float:
    """How long to rest after a batch, in seconds.

    Requests come first, so the thread takes a ninth of the time while it keeps up. The more log positions wait, the
    shorter it rests: with 4,000 it takes half of the time, with 40,000 nearly all, so that it never falls behind for
    good where outcomes come faster than a ninth of the time could learn them.
    """
    return worked_s * _COURTESY / (1.0 + backlog / BATCH)


class OneCore:
    """Keeps BLAS to one thread for a while: ``with one_core():``.

    What is learnt online is small. On a busy machine a second thread of BLAS costs more than it brings, because each
    product waits until that thread is scheduled, too: an update of ten milliseconds took seconds. The number of threads
    is the process's, so it is set for as short as an update takes, and put back.
    """

    def __init__(self) -> None:
        self._controller: ThreadpoolController | None = None
        self._loaded = -1

    def __call__(self) -> AbstractContextManager[object]:
        """The context; nothing where no BLAS is loaded."""
        loaded = sum(name in sys.modules for name in _WITH_BLAS)
        if loaded != self._loaded:  # looking for libraries takes a millisecond
            from threadpoolctl import ThreadpoolController

            self._controller, self._loaded = ThreadpoolController(), loaded
        return nullcontext() if self._controller is None else self._controller.limit(limits=1, user_api="blas")


_WITH_BLAS = ("numpy.linalg", "scipy.linalg", "torch")
"""What brings a library of its own."""


class Every:
    """True once in so many seconds, by a clock that does not jump.

    Args:
        seconds: Time between two.
        at_once: Whether the first is due now.
    """

    def __init__(self, seconds: float, *, at_once: bool = False) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + (0.0 if at_once else seconds)

    def due(self) -> bool:
        """Whether it is time; if so, the wait begins again."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
