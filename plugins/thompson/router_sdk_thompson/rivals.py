"""What a success says of the agents that were not asked.

Agents that are asked on a whim, at a small propensity, show how often just anybody succeeds. Where that is seldom,
tasks belong to few agents, and a success tells that the others would probably have failed: they are then taught that
rate, at a small weight. Where anybody often succeeds, nothing is concluded.
"""

from __future__ import annotations

WHIM = 0.25
"""Propensity up to which a choice counts as a whim."""
SELDOM = 0.3
"""Success rate of whims up to which tasks count as belonging to few agents."""
GUESSED_SUCCESSES = 1.0
GUESSED_WHIMS = 10.0


class Rivals:
    """How often an agent that was asked on a whim succeeds.

    Attributes:
        successes: Reward that came of whims.
        whims: How many there were.
    """

    def __init__(self) -> None:
        self.successes = 0.0
        self.whims = 0.0

    def note(self, propensity: float | None, reward: float) -> None:
        """Take in the first reward of a decision."""
        if propensity is not None and propensity <= WHIM:
            self.successes += reward
            self.whims += 1.0

    def verdict(self) -> float | None:
        """Reward to expect of those who were not asked when another succeeded; None where nothing follows."""
        rate = (GUESSED_SUCCESSES + self.successes) / (GUESSED_WHIMS + self.whims)
        return rate if rate <= SELDOM else None
