"""A linear posterior over vectors: what reward each agent earns, for feedback of any kind, and how sure that is.

Bayesian linear regression per agent, as Thompson sampling has it over features (``router_sdk.numerics.normal_gamma``).
It needs no labels, takes grades as they are, and knows what it does not know, so that it leads where there are many
agents, where rewards differ by little, and early.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.numerics.normal_gamma import NormalGamma, capacity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

CLEAR, NOISY = 0.3, 6.0
"""Precision of the prior on the weights, which is the noise of a reward over the weights' variance: where one agent is
right, one outcome tells of tasks like it; else an outcome says little, and a vector has hundreds of coordinates."""
HOPE = 1.0
"""Reward hoped for of an agent that nothing is known of."""
NOISE, NOISE_MASS = 0.6, 5.0
"""Guess of a reward's standard deviation around its mean, and the outcomes that it is worth."""
EXPLORATION = 0.5
"""Standard deviations that doubt is worth."""
MOST_BYTES = 152_000_000
"""What the covariances may take: those of 128 agents over vectors of 384."""
SHORT_LIST, BOUND = 16, 2.0
"""Agents whose doubt is computed where there are more, and the standard deviations by which they promise more."""
FEWEST = 8
"""Coordinates that are kept however many agents there are."""


class Reward(NamedTuple):
    """What a revision says of one agent's reward: before and now, None where nothing was or is known."""

    agent: str
    before: float | None
    now: float | None


@dataclass(slots=True, frozen=True, eq=False)
class LinearBeliefs:
    """What requests read of the posteriors, in single precision; never changed, only replaced.

    Attributes:
        rows: Row by agent.
        means: Weights, shape ``(k, w)`` of ``w`` features: a constant and the first coordinates of a vector.
        spreads: Variances of the weights before the noise, of the same shape.
        covariances: The same with their covariances, ``k`` of shape ``(w, w)``.
        noises: Variance of each agent's reward around its mean, shape ``(k,)``.
        ridge: Precision of the prior.
    """

    rows: Mapping[str, int]
    means: NDArray[np.float32]
    spreads: NDArray[np.float32]
    covariances: Sequence[NDArray[np.float32]]
    noises: NDArray[np.float32]
    ridge: float

    def scores(
        self, names: Sequence[str], vectors: Sequence[NDArray[np.float32]]
    ) -> list[tuple[list[float], list[float]]]:
        """Mean reward of each agent at each of several vectors, and how far doubt about it reaches.

        Where agents are many, doubt is known of those whose means and bounds promise most, and 0 of the others.
        """
        places = [self.rows.get(name, -1) for name in names]
        known = np.array([place for place in places if place >= 0], dtype=np.intp)
        xs = [np.ones(self.means.shape[1], dtype=np.float32) for _ in vectors]
        told: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        asking: dict[int, list[int]] = {}
        for number, (x, vector) in enumerate(zip(xs, vectors, strict=True)):
            x[1:] = vector[: len(x) - 1]
            hoped = EXPLORATION * NOISE * sqrt(float(x @ x) / self.ridge)
            means, widths = np.full(len(self.means) + 1, HOPE), np.full(len(self.means) + 1, hoped)
            means[:-1] += self.means @ x
            asked = known
            if len(known) > SHORT_LIST:
                bounds = means[:-1] + BOUND * EXPLORATION * np.sqrt(self.noises * (self.spreads @ np.square(x)))
                asked = known[np.argpartition(-bounds[known], SHORT_LIST)[:SHORT_LIST]]
                widths[known] = 0.0
            told.append((means, widths))
            for place in asked.tolist():
                asking.setdefault(place, []).append(number)
        # Agent by agent: a matrix that is in the cache answers for all vectors.
        for place, numbers in asking.items():
            covariance, noise = self.covariances[place], float(self.noises[place])
            for number in numbers:
                x = xs[number]
                told[number][1][place] = EXPLORATION * sqrt(max(float(covariance @ x @ x) * noise, 0.0))
        return [(means[places].tolist(), widths[places].tolist()) for means, widths in told]


class LinearPosterior:
    """Posteriors of all agents that ever earned anything; one thread at a time changes it.

    Of vectors for which there is no room, because agents are many, the first coordinates are used.

    Args:
        ridge: Precision of the prior on the weights, ``CLEAR`` or ``NOISY``.

    Attributes:
        posterior: What was learnt; None before the first vector.
    """

    def __init__(self, ridge: float = NOISY) -> None:
        self.ridge = ridge
        self.posterior: NormalGamma | None = None
        self._beliefs: LinearBeliefs | None = None
        self._touched: set[int] = set()

    def learn(self, rewards: Sequence[Reward], vector: NDArray[np.float32], weight: float = 1.0) -> None:
        """Take in what one revision says at a task's vector, shape ``(d,)``, and take back what the one before said."""
        posterior = self.posterior
        if posterior is None:
            posterior = self.posterior = NormalGamma(1 + len(vector), self.ridge, HOPE, NOISE_MASS, NOISE)
        for agent, _, _ in rewards:
            if agent not in posterior.rows:
                self._make_room(posterior, len(posterior.rows) + 1)
                posterior.row(agent)
        x = self._features(posterior, vector)
        for agent, before, now in rewards:
            row = posterior.rows[agent]
            self._touched.add(row)
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

    def changed(self, agents: Collection[str], kept: float) -> None:
        """Let what is known of agents that turned out to have changed count for at most ``kept`` outcomes."""
        posterior = self.posterior
        for agent in agents:
            if posterior is not None and agent in posterior.rows:
                row = posterior.rows[agent]
                self._touched.add(row)
                posterior.fade([agent], min(1.0, kept / max(posterior.count[row], 1.0)))

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        if self.posterior is not None:
            self.posterior.forget(agents)
            self._beliefs = None

    def publish(self) -> LinearBeliefs | None:
        """What requests read; only what changed is copied."""
        posterior, before = self.posterior, self._beliefs
        if posterior is None or not posterior.rows:
            return None
        if before is not None and not self._touched:
            return before
        names, old = posterior.names(), [] if before is None else before.covariances
        kept = before is not None and before.means.shape[1] == posterior.width
        rows = [posterior.rows[name] for name in names]
        covariances = [
            old[place]
            if kept and place < len(old) and row not in self._touched
            else posterior.sigma[row].astype(np.float32)
            for place, row in enumerate(rows)
        ]
        self._beliefs = LinearBeliefs(
            {name: place for place, name in enumerate(names)},
            posterior.mean[rows].astype(np.float32),
            np.array([posterior.sigma[row].diagonal() for row in rows], dtype=np.float32),
            covariances,
            np.array([posterior.noise[row] for row in rows], dtype=np.float32),
            self.ridge,
        )
        self._touched = set()
        return self._beliefs

    def _make_room(self, posterior: NormalGamma, agents: int) -> None:
        most = max(isqrt(MOST_BYTES // (8 * capacity(agents))), FEWEST)
        if posterior.width > most:
            posterior.narrow(np.arange(most))
            self._beliefs = None

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
        self.posterior = self._beliefs = None
        if names:
            own = {key: arrays[f"linear.{key}"] for key in ("mean", "sigma", "count", "residual")}
            posterior = NormalGamma(1, self.ridge, HOPE, NOISE_MASS, NOISE)
            posterior.restore(list(names), own)
            self.posterior = posterior
