"""How much noise a posterior over text assumes: so much that its predictions are neither too timid nor too bold.

The diagonal treats features as if they were independent, so that no noise that could be stated is the right one: less
than there is makes chance hits of a text knowledge of its words, more leaves what is certain half believed. Which of
the two it is shows before each outcome is learnt. Where the error has the sign of what the text added to the agent's
level, texts say more than was dared, and the noise is lowered; where it has the other, it is raised. That is
hypergradient descent on the step's size (Baydin et al., 2018; Sutton, 1992) with a normalised step.
"""

from __future__ import annotations

from math import exp, isfinite, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY = 50.0
"""Outcomes after which an outcome counts 1/e."""
PACE = 0.005
"""Most that the noise's logarithm moves at one outcome."""
LEAST, MOST = 0.05, 20.0
"""Bounds of the noise, in units of the rewards' variance."""
FAINT = 0.01
"""What texts add is counted as so much at least, as a share of the rewards' variance."""


class NoiseCalibration:
    """The noise of one observation, found from how predictions err.

    Args:
        guess: The noise to begin with, in units of the rewards' variance.
    """

    def __init__(self, guess: float) -> None:
        self._log = log(guess)
        self._missing = self._added = 0.0

    @property
    def noise(self) -> float:
        """Noise of one observation, in units of the rewards' variance."""
        return exp(self._log)

    def note(self, added: float, error: float, variance: float) -> None:
        """Take in one outcome before it is learnt.

        Args:
            added: What its text added to the agent's level in the prediction.
            error: Reward less prediction.
            variance: Variance of the rewards, above 0.
        """
        keep = 1.0 - 1.0 / MEMORY
        self._missing = keep * self._missing + added * error
        self._added = keep * self._added + added * added + FAINT * variance / MEMORY
        step = PACE * min(max(self._missing / self._added, -1.0), 1.0)
        self._log = min(max(self._log - step, log(LEAST)), log(MOST))

    def state(self) -> list[float]:
        """What ``restored`` reads."""
        return [self._log, self._missing, self._added]

    @classmethod
    def restored(cls, state: Sequence[float]) -> NoiseCalibration:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a number is not finite or out of range.
        """
        found = cls(1.0)
        found._log, found._missing, found._added = (float(number) for number in state)
        if not (all(map(isfinite, state)) and found._added >= 0.0 and log(LEAST) <= found._log <= log(MOST)):
            raise ValueError(f"a noise and its moments must be finite and in range, got {list(state)}")
        return found
