"""Forgetting by log time, in steps: what is older counts less, whatever the batches were."""

from __future__ import annotations

from math import floor

STEPS = 8
"""Steps in a half-life."""


class FadingClock:
    """Tells how much to fade when the log's time moves on.

    Args:
        half_life_s: Log time after which an observation counts half; None never forgets.

    Attributes:
        step: Steps since the epoch at the newest event, or None before the first.
    """

    def __init__(self, half_life_s: float | None) -> None:
        self._per_s = 0.0 if half_life_s is None else STEPS / half_life_s
        self.step: int | None = None

    def advance(self, at: float) -> float:
        """Move on to an event's time; the share that older observations keep, 1 where no step has passed."""
        step = floor(at * self._per_s)
        if self.step is None or step <= self.step:
            self.step = step if self.step is None else self.step
            return 1.0
        passed, self.step = step - self.step, step
        return float(2.0 ** (-passed / STEPS))

    def weight(self, first_at: float) -> float:
        """What an observation that first arrived then counts now."""
        if self.step is None:
            return 1.0
        return float(2.0 ** (min(floor(first_at * self._per_s) - self.step, 0) / STEPS))
