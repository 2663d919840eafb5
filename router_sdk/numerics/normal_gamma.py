"""Bayesian linear regression per agent: updates of normal-inverse-gamma posteriors in contiguous float64 arrays.

The prior is ``N(0, I / ridge)`` around an offset; ``change_strength`` lets it hold all features but the first, which is
a constant, more or less tightly. The noise of each agent is shrunk towards a common guess with
``kappa`` pseudo-observations. Updates are Sherman-Morrison steps, O(d²); a score needs one matrix-vector product.
Drawing ``N(xᵀμ, σ² xᵀΣx)`` in score space is linear Thompson sampling (Agrawal and Goyal, 2013) without a Cholesky
factor.
"""

from __future__ import annotations

from functools import cache
from math import inf, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.linear_snapshot import LinearSnapshot
from router_sdk.numerics.state_file import array_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

LEAST_ROWS = 4
_DOUBLED = 128


def capacity(agents: int) -> int:
    """Rows that are made for so many agents: some to spare, since making more copies them all."""
    rows = LEAST_ROWS
    while rows < agents:
        rows = 2 * rows if rows < _DOUBLED else rows * 5 // 4
    return rows


class Moments(NamedTuple):
    """What was seen of one agent, without the prior.

    Attributes:
        gram: Sum of the features' outer products, shape ``(d, d)``.
        moment: Sum of features times rewards, these less the offset, shape ``(d,)``.
        power: Sum of the same rewards' squares.
        weight: Observations.
    """

    gram: NDArray[np.float64]
    moment: NDArray[np.float64]
    power: float
    weight: float


class NormalGamma(LinearSnapshot):
    """Posteriors of many agents over one space of ``d`` features.

    Args:
        width: Number of features ``d``, a constant and others.
        ridge: Precision of the prior on each weight.
        offset: Reward expected of an agent that nothing is known of.
        kappa: Pseudo-observations behind the guess of the noise.
        noise: Guess of the noise's standard deviation.
        closer: Share of the asked-for standard deviations that counts in scores.

    Attributes:
        kappa: As given.
        residual: Sums of squared residuals by row.
    """

    def __init__(
        self, width: int, ridge: float, offset: float, kappa: float, noise: float, closer: float = 1.0
    ) -> None:
        self.kappa = kappa
        super().__init__(width, ridge, offset, noise**2, closer, LEAST_ROWS, np.float64)

    def new_snapshot(self) -> LinearSnapshot:
        """An empty copy for requests, which ``catch_up`` fills."""
        return LinearSnapshot(self.width, self.ridge, self.offset, self.guess, self.closer, len(self.mean))

    def _allocate(self, rows: int, width: int) -> None:
        super()._allocate(rows, width)
        self.residual = [0.0] * rows

    def row(self, agent: str) -> int:
        """The agent's row; a new one is a copy of the prior."""
        if (found := self.rows.get(agent)) is not None:
            return found
        found = self._free.pop() if self._free else len(self.rows)
        if found >= len(self.mean):
            self._resize(capacity(found + 1), self.width)
        self._blank(found)
        self.rows[agent] = found
        self._version += 1
        return found

    def _blank(self, row: int) -> None:
        self.mean[row], self.sigma[row] = 0.0, np.diag(1.0 / self._prior())
        self._settle(row, 0.0, 0.0)
        self._outline(row)

    def _settle(self, row: int, count: float, residual: float) -> None:
        count = count if count > 0.0 else 0.0
        residual = residual if residual > 0.0 else 0.0
        self.count[row], self.residual[row] = count, residual
        self.noise[row] = (self.kappa * self.guess + residual) / (self.kappa + count)

    def _outline(self, row: int) -> None:
        """Keep up what the short list of a crowd is made from."""
        if len(self.flat):
            self.flat[row], self.spread[row] = self.mean[row], self.sigma[row].diagonal()
            self.noises[row] = self.noise[row]

    def _resize(self, rows: int, width: int) -> None:
        mean, sigma, numbers = self.mean, self.sigma, (self.count, self.residual, self.noise)
        kept, known = len(mean), self.width
        self._allocate(rows, width)
        self.sigma[:kept, range(known, width), range(known, width)] = 1.0 / self.strength  # the others are not in use
        self.mean[:kept, :known], self.sigma[:kept, :known, :known] = mean, sigma
        self.count[:kept], self.residual[:kept], self.noise[:kept] = numbers
        for row in range(kept):
            self._outline(row)

    def widen(self, width: int) -> None:
        """Make room for features that turned up later; what is known of the others stays."""
        if width > self.width:
            self._resize(len(self.mean), width)

    def narrow(self, kept: NDArray[np.intp]) -> None:
        """Leave out all features but these, given by their places; what is known of them stays."""
        if not self.rows:
            self._free = []
            self._version += 1
            self._allocate(LEAST_ROWS, 1)
            return
        mean, sigma, numbers = self.mean, self.sigma, (self.count, self.residual, self.noise)
        used = len(self.rows) + len(self._free)
        self._allocate(len(mean), len(kept))
        for row in range(used):
            self.mean[row], self.sigma[row] = mean[row, kept], sigma[row][np.ix_(kept, kept)]
        self.count[:], self.residual[:], self.noise[:] = numbers
        for row in range(used):
            self._outline(row)

    def observe(self, row: int, x: NDArray[np.float64], reward: float, weight: float) -> float:
        """Add one observation; a negative weight takes one back that was added with the positive one.

        Args:
            row: Whose.
            x: Features, shape ``(d,)``.
            reward: What came of it.
            weight: What it counts, not 0.

        Returns:
            The error of the prediction, in its own standard deviations.
        """
        block, width = self._block[row], self.width
        moved = block.dot(x)
        reach, error = moved[:width], reward - self.offset - moved.item(width)
        scale = 1.0 / weight + float(reach.dot(x))
        if weight < 0.0 and scale > -1e-9:
            return 0.0  # Rounding or forgetting has left less of the observation than is to be taken back.
        size = scale if scale > 0.0 else -scale
        moved[width] = -error
        moved /= sqrt(size)
        # Covariance and mean move together; the same factor on both sides of the covariance keeps it symmetric
        # to rounding.
        add_outer(block, -1.0 if scale > 0.0 else 1.0, moved, reach)
        surprise: float = error / sqrt(self.noise[row] * size)
        self._settle(row, self.count[row] + weight, self.residual[row] + error * error / scale)
        if len(self.flat):
            self._outline(row)
        return surprise

    def correct(self, row: int, x: NDArray[np.float64], old: float, new: float, weight: float) -> None:
        """Replace the reward of an observation that was added before, at its weight."""
        reach = self.sigma[row] @ x
        delta = (new - old) * weight
        fit = float(self.mean[row] @ x) + self.offset
        change = weight * ((new - fit) ** 2 - (old - fit) ** 2) - delta * delta * float(reach @ x)
        self.mean[row] += reach * delta
        self._settle(row, self.count[row], self.residual[row] + change)
        self._outline(row)

    def expected(self, x: NDArray[np.float64]) -> list[float]:
        """Mean reward at ``x`` by row."""
        weights = self.flat if len(self.flat) else self.mean
        found: list[float] = (weights[: len(self.rows) + len(self._free)].dot(x) + self.offset).tolist()
        return found

    def fade(self, agents: Iterable[str], share: float) -> None:
        """Let what is known count only a share of what it did; the prior stays whole."""
        prior = np.diag(self._prior())
        for agent in agents:
            if (row := self.rows.get(agent)) is None:
                continue
            precision = np.linalg.inv(self.sigma[row])
            moment = share * (precision @ self.mean[row])
            faded = np.linalg.inv(prior + share * (precision - prior))
            self.sigma[row] = (faded + faded.T) / 2.0
            self.mean[row] = self.sigma[row] @ moment
            self._settle(row, self.count[row] * share, self.residual[row] * share)
            self._outline(row)

    def _prior(self) -> NDArray[np.float64]:
        """Precisions of the prior on the weights, shape ``(d,)``."""
        prior = np.full(self.width, self.strength)
        prior[0] = self.ridge
        return prior

    def moments(self, row: int) -> Moments:
        """What was seen of an agent."""
        precision, mean = np.linalg.inv(self.sigma[row]), self.mean[row]
        moment = precision @ mean
        power = self.residual[row] + float(mean @ moment)
        return Moments((precision + precision.T) / 2.0 - np.diag(self._prior()), moment, power, self.count[row])

    def change_strength(self, strength: float) -> None:
        """Give all weights but the constant's a prior of this precision, as if it had been theirs from the start."""
        prior = self._prior()
        prior[1:] = strength
        for row in self.rows.values():
            seen = self.moments(row)
            sigma = np.linalg.inv(seen.gram + np.diag(prior))
            self.sigma[row] = (sigma + sigma.T) / 2.0
            self.mean[row] = self.sigma[row] @ seen.moment
            self._settle(row, seen.weight, seen.power - float(self.mean[row] @ seen.moment))
            self._outline(row)
        self.strength = strength
        for row in self._free:
            self._blank(row)

    def forget(self, agents: Iterable[str]) -> None:
        """Turn these agents' rows into the prior and leave them to newcomers."""
        for agent in agents:
            row = self.rows.pop(agent, None)
            if row is not None:
                self._version += 1
                self._blank(row)
                self._free.append(row)

    def names(self) -> list[str]:
        """The agents in the order of their rows: read back like that, products are summed as they were, bit by bit."""
        return sorted(self.rows, key=self.rows.__getitem__)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is to be saved, in the order of ``names``, holes left out."""
        order = sorted(self.rows.values())
        return {
            "mean": self.mean[order],
            "sigma": self.sigma[order],
            "count": np.array([self.count[row] for row in order]),
            "residual": np.array([self.residual[row] for row in order]),
        }

    def restore(self, names: list[str], arrays: dict[str, NDArray[Any]], strength: float | None = None) -> None:
        """Take over what ``arrays`` gave, and the strength of the prior if it is not the one to start from.

        Raises:
            ValueError: if a number is not finite, a count or the strength negative, or a covariance not positive
                definite.
        """
        if strength is not None and not 0.0 < strength < inf:
            raise ValueError("the prior's strength is no precision")
        self.strength = self.ridge if strength is None else strength
        mean, sigma, count, residual = _checked(len(names), arrays)
        self.rows, self._free = {}, []
        self._allocate(capacity(len(names)), mean.shape[1])
        for index, name in enumerate(names):
            row = self.row(name)
            self.mean[row], self.sigma[row] = mean[index], sigma[index]
            self._settle(row, float(count[index]), float(residual[index]))
            self._outline(row)


def add_outer(matrix: NDArray[Any], factor: float, left: NDArray[Any], right: NDArray[Any]) -> None:
    """Add ``factor * outer(left, right)``, in place.

    Args:
        matrix: Contiguous float64 of shape ``(m, n)``; any other would be copied, and the sum lost with the copy.
        factor: 1 or -1, so that a symmetric product stays symmetric to rounding. (Not to the last bit: OpenBLAS's
            kernels differ in where they fuse multiply and add, some at the edges of a matrix only.)
        left: Shape ``(m,)``.
        right: Shape ``(n,)``.
    """
    # BLAS counts in columns, so it is handed the transpose.
    # By place, since names cost as much again: alpha, x, y, their steps, a, and that all three may be overwritten.
    _ger()(factor, right, left, 1, 1, matrix.T, 1, 1, 1)


@cache
def _ger() -> Any:
    # Loaded by the first update rather than with the plugin: it takes longer than all the rest.
    from scipy.linalg.blas import dger

    return dger


def _checked(agents: int, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Weights, covariances, counts and residuals of so many agents.

    Raises:
        ValueError: if a number is not finite, a count negative, a covariance not positive definite (a
            ``LinAlgError``), or the shapes do not fit each other.
    """
    mean = array_of(arrays, "mean", np.float64, (agents, None))
    width = mean.shape[1]
    sigma = array_of(arrays, "sigma", np.float64, (agents, width, width))
    count, residual = (array_of(arrays, key, np.float64, (agents,), (0.0, inf)) for key in ("count", "residual"))
    for each in sigma:
        np.linalg.cholesky(each)
    return mean, sigma, count, residual
