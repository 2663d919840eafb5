"""What each agent may be expected to earn, learnt round by round: the reward model of a doubly robust estimate.

The mean of an agent's rewards with one type of task, shrunk to its mean over all types, and that to the mean of all
agents: where little is known of a cell, what stands above it answers. Asked about a round before it learns from it, it
knows earlier ones alone. So what a doubly robust estimate subtracts is *predictable*, and the estimate is unbiased
however wrong the model is: a better one only makes its interval narrower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIOR_MEAN = 0.5
"""Expected while nothing is known."""
HELD = 2.0
"""Rounds that what stands above a mean is worth in it."""


class _Mean:
    """A running mean, held to what stands above it."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = self.total = 0.0

    def learn(self, reward: float) -> None:
        self.count += 1.0
        self.total += reward

    def towards(self, above: float) -> float:
        return (self.total + HELD * above) / (self.count + HELD)


class RewardModel:
    """Means by task type and agent; ``None`` is an agent, too: that none fits."""

    def __init__(self) -> None:
        self._all = _Mean()
        self._agents: dict[str | None, _Mean] = {}
        self._cells: dict[tuple[str, str | None], _Mean] = {}

    def expect(self, task_type: str, agents: Sequence[str | None]) -> NDArray[np.float64]:
        """The reward, in [0, 1], that each of some agents may be expected to earn, shape ``(k,)``."""
        overall = self._all.towards(PRIOR_MEAN)
        found = np.empty(len(agents))
        for place, agent in enumerate(agents):
            known = self._agents.get(agent)
            found[place] = overall
            if known is not None:
                above = known.towards(overall)
                cell = self._cells.get((task_type, agent))
                found[place] = above if cell is None else cell.towards(above)
        return found

    def learn(self, task_type: str, agent: str | None, reward: float) -> None:
        """Take in what one round came to."""
        self._all.learn(reward)
        self._agents.setdefault(agent, _Mean()).learn(reward)
        self._cells.setdefault((task_type, agent), _Mean()).learn(reward)
