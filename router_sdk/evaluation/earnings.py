"""Whether what is earned fell below what was earned before: in all, or where one agent acts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.evaluation.sequential import alarm_at, evidence_below, gain_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.config import WatchConfig

LEAST = 20
"""Outcomes, in all or of one agent, below which there is nothing to compare with."""
_PRIOR = 5.0
"""Outcomes of all that stand in for those of a task type or an agent of which few are known."""


class Earned(NamedTuple):
    """What one decision earned: its reward, in [0, 1]."""

    task_type: str
    agent: str | None
    reward: float


class _Sums(NamedTuple):
    """Of some rewards: how many there are, their sum, and that of their squares."""

    size: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, reward: float) -> _Sums:
        """With one more."""
        return _Sums(self.size + 1, self.total + reward, self.squares + reward * reward)


class Baseline:
    """What was earned before, by task type and by agent.

    Args:
        earned: By whom, and how much.
    """

    def __init__(self, earned: Iterable[Earned]) -> None:
        self._whole = _Sums()
        self._types: dict[str, _Sums] = {}
        self._agents: dict[str, _Sums] = {}
        for task_type, agent, reward in earned:
            self._whole = self._whole.plus(reward)
            self._types[task_type] = self._types.get(task_type, _Sums()).plus(reward)
            if agent is not None:
                self._agents[agent] = self._agents.get(agent, _Sums()).plus(reward)

    @property
    def outcomes(self) -> int:
        """How many there are."""
        return self._whole.size

    @property
    def agents(self) -> list[str]:
        """Those that acted often enough to say how they do."""
        return [agent for agent, sums in self._agents.items() if sums.size >= LEAST]

    def of_types(self, types: Sequence[str], alpha: float) -> tuple[NDArray[np.float64], float]:
        """What was earned with tasks of these types, and by how much the truth may be less on average.

        Args:
            types: One for each of some tasks, shape ``(n,)``.
            alpha: Chance that it is less than that still.

        Returns:
            Means, shape ``(n,)``, and the doubt.
        """
        means: dict[str, float] = {}
        variance = 0.0
        for key, count in Counter(types).items():
            means[key], own = self._estimate(self._types.get(key, _Sums()))
            variance += (count / len(types)) ** 2 * own
        return np.array([means[key] for key in types]), NormalDist().inv_cdf(1.0 - alpha) * math.sqrt(variance)

    def of_agent(self, agent: str, alpha: float) -> tuple[float, float]:
        """The same of what one agent earned."""
        mean, variance = self._estimate(self._agents[agent])
        return mean, NormalDist().inv_cdf(1.0 - alpha) * math.sqrt(variance)

    def _estimate(self, sums: _Sums) -> tuple[float, float]:
        """A mean, shrunk to that of all, and its variance."""
        mass = sums.size + _PRIOR
        mean = (sums.total + _PRIOR * self._whole.total / self._whole.size) / mass
        spread = (sums.squares - 2.0 * mean * sums.total + sums.size * mean * mean + 0.25 * _PRIOR) / mass
        return mean, spread / mass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison came to.

    Attributes:
        outcomes: Outcomes that were compared.
        mean: What they earned on average, in [0, 1].
        expected: What such tasks earned before.
        fallen: Why the cause is to be undone; None while nothing says so.
    """

    outcomes: int
    mean: float
    expected: float
    fallen: str | None


def compare(before: Baseline, since: Sequence[Earned], config: WatchConfig) -> Verdict:
    """Whether rewards fell, as far as may be said after any number of outcomes.

    Half of ``config.alpha`` is for all of them together, task type by task type, half for single agents; of each half,
    half is for what is not known of the time before.

    Args:
        before: What was earned before, ``LEAST`` outcomes or more.
        since: What is earned now, in the order in which it came; at least one.
        config: The chance of a false alarm, and what is tolerated.
    """
    rewards = np.array([one.reward for one in since])
    expected, doubt = before.of_types([one.task_type for one in since], config.alpha / 4.0)
    mean, usual = float(rewards.mean()), float(expected.mean())
    floors = np.clip(expected - doubt - config.tolerance, 0.0, 1.0)
    if alarm_at(evidence_below(rewards, floors), config.alpha / 4.0) is not None:
        fallen: str | None = f"it earned {mean:.3f} where {usual:.3f} came before, in {len(since)} outcomes"
    else:
        fallen = _fallen_agent(before, since, config)
    return Verdict(len(since), mean, usual, fallen)


def _fallen_agent(before: Baseline, since: Sequence[Earned], config: WatchConfig) -> str | None:
    """An agent that earns much less than it did, because it is given other tasks."""
    now: dict[str | None, list[float]] = {}
    for one in since:
        now.setdefault(one.agent, []).append(one.reward)
    alpha = config.alpha / 4.0 / max(len(before.agents), 1)
    for agent in before.agents:
        rewards = np.array(now.get(agent, ()))
        expected, doubt = before.of_agent(agent, alpha)
        if alarm_at(evidence_below(rewards, max(expected - doubt - config.agent_tolerance, 0.0)), alpha) is not None:
            return f"{agent} earned {rewards.mean():.3f} where {expected:.3f} came before, in {len(rewards)} outcomes"
    return None


def gain_bounds(before: Baseline, since: Sequence[Earned], alpha: float) -> tuple[float, float]:
    """Bounds of what is earned beyond what came before, that hold at all times at once with chance ``1 - alpha``."""
    expected, doubt = before.of_types([one.task_type for one in since], alpha / 4.0)
    low, high = gain_interval([one.reward for one in since], expected, alpha / 2.0)
    return max(low - doubt, -1.0), min(high + doubt, 1.0)
