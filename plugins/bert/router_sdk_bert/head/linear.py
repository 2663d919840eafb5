"""A linear posterior over vectors: what reward each agent earns, for feedback of any kind, and how sure that is.

Bayesian linear regression per agent, as Thompson sampling has it over features (``router_sdk.numerics.normal_gamma``).
It needs no labels, takes grades as they are, and knows what it does not know, so that it leads where there are many
agents, where rewards differ by little, and early.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.numerics.linear_snapshot import DoubleBuffer, LinearSnapshot
from router_sdk.numerics.normal_gamma import NormalGamma, capacity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

RIDGE = 6.0
"""Precision of the prior on the weights: an outcome is noisy, and a vector has hundreds of coordinates."""
HOPE = 1.0
"""Reward hoped for of an agent that nothing is known of."""
NOISE, NOISE_MASS = 0.6, 5.0
"""Guess of a reward's standard deviation around its mean, and the outcomes that it is worth."""
EXPLORATION = 0.5
"""Standard deviations that doubt is worth."""
KEPT = 20.0
"""Outcomes that all that is known of an agent counts for once it has changed."""
MOST_BYTES = 152_000_000
"""What the covariances may take: those of 128 agents over vectors of 384."""
FEWEST = 8
"""Coordinates that are kept however many agents there are."""


class Reward(NamedTuple):
    """What a revision says of one agent's reward: before and now, None where nothing was or is known."""

    agent: str
    before: float | None
    now: float | None


class LinearPosterior:
    """Posteriors of all agents that ever earned anything; one thread at a time changes it.

    Of vectors for which there is no room, because agents are many, the first coordinates are used.

    Attributes:
        posterior: What was learnt; None before the first vector.
    """

    def __init__(self) -> None:
        self.posterior: NormalGamma | None = None
        self._buffer: DoubleBuffer[LinearSnapshot] | None = None
        self._snapshot: LinearSnapshot | None = None

    def learn(self, rewards: Sequence[Reward], vector: NDArray[np.float32], weight: float = 1.0) -> None:
        """Take in what one revision says at a task's vector, shape ``(d,)``, and take back what the one before said."""
        posterior = self.posterior
        if posterior is None:
            posterior = self._use(NormalGamma(1 + len(vector), RIDGE, HOPE, NOISE_MASS, NOISE))
        for agent, _, _ in rewards:
            if agent not in posterior.rows:
                self._make_room(posterior, len(posterior.rows) + 1)
                posterior.row(agent)
        x = self._features(posterior, vector)
        for agent, before, now in rewards:
            row = posterior.rows[agent]
            self._touch(row)
            if before is None and now is not None:
                posterior.observe(row, x, now, weight)
            elif before is not None and now is not None:
                posterior.correct(row, x, before, now, weight)
            elif before is not None:
                posterior.observe(row, x, before, -weight)

    def expected(self, names: Sequence[str], vector: NDArray[np.float32]) -> list[float]:
        """Mean reward of each agent at a vector as of now; what is hoped for of one that nothing is known of."""
        posterior = self.posterior
        if posterior is None:
            return [HOPE] * len(names)
        found, rows = posterior.expected(self._features(posterior, vector)), posterior.rows
        return [found[rows[name]] if name in rows else HOPE for name in names]

    def changed(self, agents: Collection[str]) -> None:
        """Let what is known of agents that turned out to have changed count for little."""
        posterior = self.posterior
        for agent in agents:
            if posterior is not None and agent in posterior.rows:
                row = posterior.rows[agent]
                self._touch(row)
                posterior.fade([agent], min(1.0, KEPT / max(posterior.count[row], 1.0)))

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        if self.posterior is not None:
            for row in self.posterior.rows.values():
                self._touch(row)
            self.posterior.forget(agents)

    def publish(self) -> LinearSnapshot | None:
        """What requests read; it is written again two publications later."""
        if self.posterior is None or self._buffer is None:
            return None
        if self._snapshot is None or self._buffer.changed:
            self._snapshot = self._buffer.publish(self.posterior)
        return self._snapshot

    def _use(self, posterior: NormalGamma) -> NormalGamma:
        self.posterior, self._buffer, self._snapshot = posterior, DoubleBuffer(posterior.new_snapshot), None
        self._buffer.touch_all(posterior.rows.values())
        return posterior

    def _touch(self, row: int) -> None:
        assert self._buffer is not None
        self._buffer.touch(row, None)

    def _make_room(self, posterior: NormalGamma, agents: int) -> None:
        most = max(isqrt(MOST_BYTES // (8 * capacity(agents))), FEWEST)
        if posterior.width > most:
            posterior.narrow(np.arange(most))

    @staticmethod
    def _features(posterior: NormalGamma, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        x = np.empty(posterior.width)
        x[0], x[1:] = 1.0, vector[: posterior.width - 1]
        return x

    def arrays(self) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
        """Names, and what is known of each, for a file."""
        if self.posterior is None:
            return [], {}
        return self.posterior.names(), {f"linear.{key}": told for key, told in self.posterior.arrays().items()}

    def restore(self, names: Sequence[str], arrays: Mapping[str, NDArray[np.float64]]) -> None:
        """Take up what ``arrays`` gave.

        Raises:
            ValueError: if a number is not finite, a count negative, or a covariance not positive definite.
            KeyError: if an array is missing.
        """
        self.posterior = self._buffer = self._snapshot = None
        if names:
            own = {key: arrays[f"linear.{key}"] for key in ("mean", "sigma", "count", "residual")}
            posterior = NormalGamma(1, RIDGE, HOPE, NOISE_MASS, NOISE)
            posterior.restore(list(names), own)
            self._use(posterior)


def scores_at(
    snapshot: LinearSnapshot, names: tuple[str, ...], vector: NDArray[np.float32]
) -> tuple[list[float], list[float]]:
    """Mean reward of each agent at a vector, and how far doubt about it reaches."""
    x = np.zeros(snapshot.width + 1, dtype=np.float32)
    x[0], x[1:-1] = 1.0, vector[: snapshot.width - 1]
    return snapshot.scores(names, x, EXPLORATION)
