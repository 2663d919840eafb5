"""The pace of the learner: what is due how often, how much is learnt at a time, and how long others go first."""

from __future__ import annotations

import time

POLL_S = 1.0
"""Longest time between two looks at the log and the agents."""
SWEEP_S = 60.0
"""Time between two searches for outcomes whose decision never came."""
PAUSE_S = 0.1
"""Shortest time between two updates that nobody waits for."""
PUBLISH_S = 1.0
"""Shortest time between two publications of what the leader learnt."""
PATIENCE_S = 1.5
"""Longest time that what waits is left to the leader."""
BATCH = 512
"""Log positions in an online batch: few, because the thread holds the interpreter lock while it learns."""
REPLAY_BATCH = 4_096
"""Log positions in a batch at start, when there is nobody to hold up."""

COURTESY = 8.0
"""How many times as long as it took to learn a batch others go first."""


def rest_s(worked_s: float, backlog: int) -> float:
    """How long to rest after a batch, in seconds.

    Requests come first, so the thread takes a ninth of the time while it keeps up. The more log positions wait, the
    shorter it rests: with 4,000 it takes half of the time, with 40,000 nearly all, so that it never falls behind for
    good where outcomes come faster than a ninth of the time could learn them.
    """
    return worked_s * COURTESY / (1.0 + backlog / BATCH)


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
