"""Which kind of feedback comes: whether one agent succeeds at a task, as with labels, or several do, or hardly any.

Agents that are asked on a whim, at a small propensity, show what just anybody earns, and favourites what the best one
does. Where exactly one agent is right, what all of them earn at a task comes to 1. Where anybody seldom succeeds, a
success tells that the others would probably have failed; where anybody often does, it tells nothing of them.
"""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SUCCESS = 0.5
"""Reward from which an outcome counts as a success of the agent that was asked."""
WHIM = 0.25
"""Propensity up to which a choice counts as a whim."""
FAVOURED = 0.5
"""Propensity from which it counts as that of a favourite."""
LEAST_PROPENSITY = 0.1
"""Share of an even chance below which a whim does not count for more."""
BELIEVED = 5.0
"""Outcomes that the belief is worth that exactly one is right."""
ABOVE, BELOW = 0.25, 0.4
"""How far from 1 all together may be: above, times the root of the number of the others."""
SURE = 4.0
"""Standard errors beyond that before it is believed: it is asked after every outcome."""
SELDOM = 0.3
"""Success rate of whims up to which tasks count as belonging to few agents."""
GUESSED_SUCCESSES, GUESSED_WHIMS = 1.0, 10.0
"""What is guessed of whims where others are to be told."""
DOUBTED_SUCCESSES = 5.0
"""Successes that are guessed of as many whims where it is asked whether they are seldom: nothing follows from a few."""
BACK = 0.8
"""Share of all that within which what was found not to be exclusive is taken to be exclusive again."""


class FeedbackKind:
    """What agents earn on a whim and as favourites.

    Attributes:
        exclusive: Whether exactly one agent seems to be right, as is believed before anything is known.
        whims: Weight of the whims, its squares, and the reward that came of them.
        favourites: Number of favourites, and their reward.
        agents: Agents that could be chosen, summed over both, and their number.
    """

    def __init__(self) -> None:
        self.exclusive = True
        self.whims = (0.0, 0.0, 0.0)
        self.favourites = (0.0, 0.0)
        self.agents = (0.0, 0.0)

    def note(self, agents: int, propensity: float, reward: float) -> bool:
        """Take in the first reward of a decision among several agents; whether it told of agents asked on a whim."""
        if agents < 2 or WHIM < propensity < FAVOURED:
            return False
        whim = propensity <= WHIM
        if whim:
            self._note_whim(min(1.0 / propensity, agents / LEAST_PROPENSITY) / agents, reward)
        else:
            self.favourites = self.favourites[0] + 1.0, self.favourites[1] + reward
        self._judge(agents)
        return whim

    def note_all(self, rewards: Sequence[float]) -> None:
        """Take in what each of all agents would have earned at one task."""
        agents, best = len(rewards), max(rewards)
        if agents < 2:
            return
        self.favourites = self.favourites[0] + 1.0, self.favourites[1] + best
        self._note_whim(1.0, (sum(rewards) - best) / (agents - 1))
        self._judge(agents)

    def others(self, *, presumed: bool = False) -> float | None:
        """Reward to expect of those who were not asked when another succeeded; None where nothing follows.

        Args:
            presumed: Whether something else says that tasks belong to few, such as examples of each agent's own.
        """
        mass, _, earned = self.whims
        doubted = GUESSED_SUCCESSES if presumed else DOUBTED_SUCCESSES
        if (doubted + earned) / (GUESSED_WHIMS + mass) > SELDOM:
            return None
        return (GUESSED_SUCCESSES + earned) / (GUESSED_WHIMS + mass)

    def _note_whim(self, weight: float, reward: float) -> None:
        mass, squares, earned = self.whims
        self.whims = mass + weight, squares + weight * weight, earned + weight * reward

    def _judge(self, agents: int) -> None:
        self.agents = self.agents[0] + 1.0, self.agents[1] + agents
        others = self.agents[1] / self.agents[0] - 1.0
        # Before favourites are known they are no better than others, and before whims are, the others earn the rest.
        mass, squares, earned = self.whims
        anybody = (BELIEVED / (others + 1.0) + earned) / (BELIEVED + mass)
        by_favourite = (BELIEVED * anybody + self.favourites[1]) / (BELIEVED + self.favourites[0])
        by_whim = (BELIEVED * (1.0 - by_favourite) / others + earned) / (BELIEVED + mass)
        excess = by_favourite + others * by_whim - 1.0
        number = BELIEVED + (mass * mass / squares if squares else 0.0)
        chance = SURE * others * sqrt(by_whim * (1.0 - by_whim) / number)
        scale = 1.0 if self.exclusive else BACK
        self.exclusive = -scale * (BELOW + chance) <= excess <= scale * (ABOVE * sqrt(others) + chance)

    def state(self) -> list[float]:
        """What ``restore`` reads."""
        return [float(self.exclusive), *self.whims, *self.favourites, *self.agents]

    def restore(self, state: Sequence[float]) -> None:
        """Take up what ``state`` gave.

        Raises:
            ValueError: if a number is missing, negative or not finite.
        """
        exclusive, *sums = (float(number) for number in state)
        if len(sums) != 7 or not all(isfinite(number) and number >= 0.0 for number in (exclusive, *sums)):
            raise ValueError("what is known of the feedback must be eight numbers of at least 0")
        self.exclusive = bool(exclusive)
        self.whims, self.favourites, self.agents = (sums[0], sums[1], sums[2]), (sums[3], sums[4]), (sums[5], sums[6])
