"""Detects that an agent changed: a two-sided CUSUM of standardised residuals (Page, 1954).

Two sums per agent, so that it costs next to nothing per outcome, is saved with two numbers, and needs no window.
"""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

ALLOWANCE = 0.4
"""Shift, in standard deviations, that is put down to an imperfect posterior."""
MISFIT = 2.0
"""How much more surprise it takes where the posterior is linear in features: that is wrong in streaks, unchanged."""
LEAST_VARIANCE = 0.04
"""Floor under a Bernoulli residual's variance, so that one upset of a sure thing is no alarm."""


def bernoulli_residual(reward: float, expected: float) -> float:
    """Reward less expectation, in standard deviations of a success at that rate."""
    variance = expected * (1.0 - expected)
    return (reward - expected) / sqrt(variance if variance > LEAST_VARIANCE else LEAST_VARIANCE)


class ChangeDetector:
    """Sums of how much worse, and how much better, an agent did than its posterior said.

    Attributes:
        worse: Evidence for a fall, in standard deviations.
        better: Evidence for a rise, in standard deviations.
        alarms: Changes found so far.
    """

    __slots__ = ("alarms", "better", "worse")

    def __init__(self, worse: float = 0.0, better: float = 0.0, alarms: int = 0) -> None:
        self.worse = worse
        self.better = better
        self.alarms = alarms

    def surprised(self, residual: float, threshold: float) -> bool:
        """Take one outcome in; True where the agent is no longer what it was.

        Args:
            residual: Reward less expectation, in standard deviations of the prediction.
            threshold: Sum at which a change is called.
        """
        worse = self.worse - residual - ALLOWANCE
        better = self.better + residual - ALLOWANCE
        self.worse = worse if worse > 0.0 else 0.0
        self.better = better if better > 0.0 else 0.0
        if worse <= threshold and better <= threshold:
            return False
        self.worse = self.better = 0.0
        self.alarms += 1
        return True

    def state(self) -> list[Any]:
        """What ``restored`` reads."""
        return [self.worse, self.better, self.alarms]

    @classmethod
    def restored(cls, state: list[Any]) -> ChangeDetector:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a sum is not finite.
        """
        worse, better, alarms = float(state[0]), float(state[1]), int(state[2])
        if not (isfinite(worse) and isfinite(better)):
            raise ValueError("change detection holds numbers that are not finite")
        return cls(worse, better, alarms)
