"""What is due how often."""

from __future__ import annotations

import time


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
