"""How large rewards are and how far apart: what priors, noise and doubt over texts are measured in.

Whether grades run from .7 to .9, or one task in fifty succeeds at all, a guess in units of rewards would drown the one
and take the other's chance hits for knowledge. In units of the rewards' own mean and spread one guess serves both.
"""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GUESS, GUESSED_VARIANCE, MASS = 0.5, 0.25, 2.0
"""Mean and variance that are assumed at first, and the rewards that this is worth."""
LEAST_VARIANCE = 1e-6


class Scale(NamedTuple):
    """Mean of the rewards, and their standard deviation, above 0."""

    mean: float
    spread: float


class RewardScale:
    """Moments of the rewards that were learnt from.

    Attributes:
        count: How many.
        total: Their sum.
        squares: The sum of their squares.
    """

    def __init__(self) -> None:
        self.count = self.total = self.squares = 0.0
        self._current: Scale | None = None

    def note(self, old: float | None, new: float | None, weight: float) -> None:
        """Take in what one revision changes of one agent's reward, and take back what it corrects."""
        self._current = None
        for reward, sign in ((old, -weight), (new, weight)):
            if reward is not None:
                self.count += sign
                self.total += sign * reward
                self.squares += sign * reward * reward

    def fade(self, share: float) -> None:
        """Let what was seen count only a share of what it did."""
        self._current = None
        self.count *= share
        self.total *= share
        self.squares *= share

    @property
    def current(self) -> Scale:
        """Mean and spread, the guess among them."""
        if self._current is None:
            self._current = self._measured()
        return self._current

    def _measured(self) -> Scale:
        count = max(self.count, 0.0)
        within = self.squares - self.total * self.total / count if count > 0.0 else 0.0
        variance = (MASS * GUESSED_VARIANCE + max(within, 0.0)) / (MASS + count)
        mean = (MASS * GUESS + self.total) / (MASS + count)
        return Scale(min(max(mean, 0.0), 1.0), sqrt(max(variance, LEAST_VARIANCE)))

    def state(self) -> list[float]:
        """What ``restored`` reads."""
        return [self.count, self.total, self.squares]

    @classmethod
    def restored(cls, state: Sequence[float]) -> RewardScale:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if it is not three finite numbers.
        """
        scale = cls()
        scale.count, scale.total, scale.squares = (float(number) for number in state)
        if not all(map(isfinite, (scale.count, scale.total, scale.squares))):
            raise ValueError("moments of the rewards must be finite")
        return scale
