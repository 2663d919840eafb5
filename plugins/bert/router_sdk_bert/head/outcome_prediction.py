"""What a task may expect of each agent besides success: light ridge regressions of quality, latency and cost.

Over a fixed random projection of the task's vector, so that an agent costs a few thousand sums and an outcome a few
microseconds. What an agent states of itself counts as a few outcomes at its average.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from router_sdk.numerics.state_file import array_of
from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from router_sdk.plugin import Agent, Example

Measure = Literal["quality", "latency_ms", "cost_usd"]
MEASURES: tuple[Measure, ...] = ("quality", "latency_ms", "cost_usd")
FEATURES = 24
"""Columns that a vector is projected to; one more is constant."""
RIDGE = 10.0
"""Penalty on the slopes, in outcomes."""
STATED = 5.0
"""Outcomes that an agent's own word counts for."""


class OutcomePredictor:
    """Sums of outcomes by agent and measure.

    Args:
        seed: Seed of the projection.

    Attributes:
        sums: By agent, for each measure the second moments of features and target, ``(f + 1, f + 2)``.
        stated: What agents say of themselves.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._projection: NDArray[np.float64] | None = None
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.stated: dict[str, dict[Measure, float]] = {}

    def prepare(self, agents: Iterable[Agent]) -> None:
        """Note what agents say of themselves."""
        self.stated = {agent.name: _stated(agent) for agent in agents}

    def _features(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._projection is None or self._projection.shape[1] != len(vector):
            rng = np.random.default_rng([self._seed, len(vector)])
            self._projection = rng.normal(size=(FEATURES, len(vector))) / math.sqrt(FEATURES)
        return np.append(self._projection @ vector, 1.0)

    def learn(self, example: Example, vector: NDArray[np.float32]) -> None:
        """Add what one revision says, and take back what the one before said."""
        if example.agent is None:
            return
        now, before = _measured(example.reward, example.signals), {}
        if example.previous is not None:
            before = _measured(example.previous_reward, example.previous)
        if now == before:
            return
        features = self._features(vector)
        sums = self.sums.get(example.agent)
        if sums is None:
            sums = np.zeros((len(MEASURES), FEATURES + 1, FEATURES + 2))
        # A new array, so that a request that reads the old one is not disturbed.
        sums = sums.copy()
        for place, measure in enumerate(MEASURES):
            for told, sign in ((before, -1.0), (now, 1.0)):
                if measure in told:
                    sums[place] += sign * np.outer(features, np.append(features, told[measure]))
        self.sums = {**self.sums, example.agent: sums}

    def of(self, name: str, vector: NDArray[np.float32] | None) -> dict[str, float]:
        """What to expect of one agent on one task, or on average; what is not known is left out."""
        sums, told = self.sums.get(name), self.stated.get(name, {})
        features = None if vector is None else self._features(vector)
        expected: dict[str, float] = {}
        for place, measure in enumerate(MEASURES):
            moments = np.zeros((FEATURES + 1, FEATURES + 2)) if sums is None else sums[place].copy()
            if measure in told:
                moments[-1, -2] += STATED
                moments[-1, -1] += STATED * told[measure]
            if moments[-1, -2] <= 0.0:
                continue
            value = _solve(moments, features)
            expected[measure] = (
                math.expm1(min(max(value, 0.0), 100.0)) if measure != "quality" else min(max(value, 0.0), 1.0)
            )
        return expected

    def forget(self, names: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.sums = {name: sums for name, sums in self.sums.items() if name not in set(names)}

    def arrays(self) -> tuple[list[str], NDArray[np.float64]]:
        """Names, and the sums of each, for a file."""
        names = sorted(self.sums)
        shape = (0, len(MEASURES), FEATURES + 1, FEATURES + 2)
        return names, np.stack([self.sums[name] for name in names]) if names else np.zeros(shape)

    def restore(self, facts: Mapping[str, Any], stored: Mapping[str, NDArray[Any]]) -> None:
        """Take up what ``arrays`` gave, stored as ``names`` and ``expectations``.

        Raises:
            CorruptArtifactError: if something is missing, does not fit, or is not finite.
        """
        try:
            names, shape = list(facts["names"]), (len(MEASURES), FEATURES + 1, FEATURES + 2)
            sums = array_of(stored, "expectations", np.float64, (len(names), *shape))
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptArtifactError(f"the sums of outcomes are malformed: {error}") from error
        self.sums = dict(zip(names, sums, strict=True))


def _solve(moments: NDArray[np.float64], features: NDArray[np.float64] | None) -> float:
    """The regression's value at these features; without any, the mean."""
    count = moments[-1, -2]
    mean = moments[-1, -1] / count
    if features is None:
        return float(mean)
    centre = moments[-1, :FEATURES] / count
    spread = moments[:FEATURES, :FEATURES] - count * np.outer(centre, centre) + RIDGE * np.eye(FEATURES)
    slope = np.linalg.solve(spread, moments[:FEATURES, -1] - count * centre * mean)
    return float(mean + (features[:FEATURES] - centre) @ slope)


def _measured(reward: float | None, signals: Any) -> dict[Measure, float]:
    """The numbers of one revision, latency and cost as logarithms of one plus."""
    told: dict[Measure, float] = {}
    if reward is not None:
        told["quality"] = reward
    if signals.latency_ms is not None:
        told["latency_ms"] = math.log1p(signals.latency_ms)
    if signals.cost_usd is not None:
        told["cost_usd"] = math.log1p(signals.cost_usd)
    return told


def _stated(agent: Agent) -> dict[Measure, float]:
    said: dict[Measure, float] = {}
    if agent.success_rate is not None:
        said["quality"] = agent.success_rate
    if agent.latency_ms is not None:
        said["latency_ms"] = math.log1p(agent.latency_ms)
    if agent.cost_usd is not None:
        said["cost_usd"] = math.log1p(agent.cost_usd)
    return said
