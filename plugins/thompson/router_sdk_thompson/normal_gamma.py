"""Bayesian linear regression per agent: normal-inverse-gamma posteriors in contiguous float64 arrays.

The prior is ``N(0, I / ridge)`` around an offset, the noise of each agent is shrunk towards a common guess with
``kappa`` pseudo-observations. Updates are Sherman-Morrison steps, O(d²); a score needs one matrix-vector product.
Drawing ``N(xᵀμ, σ² xᵀΣx)`` in score space is linear Thompson sampling (Agrawal and Goyal, 2013) without a Cholesky
factor.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_thompson.saved_arrays import checked
from router_sdk_thompson.short_list import LONG, short_listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LEAST_ROWS = 4


class NormalGamma:
    """Posteriors of many agents over one space of ``d`` features.

    Args:
        width: Number of features ``d``.
        ridge: Precision of the prior on each weight.
        offset: Reward expected of an agent that nothing is known of.
        kappa: Pseudo-observations behind the guess of the noise.
        noise: Guess of the noise's standard deviation.

    Attributes:
        rows: Agent name to row. A removed agent leaves a row that the next new one takes.
        mean: Weights, shape ``(rows, d)``.
        sigma: Covariances before the noise, shape ``(rows, d, d)``.
        spread: Their diagonals, shape ``(rows, d)``; kept up where there are more rows than ``LONG``.
        count: Observations, shape ``(rows,)``.
        residual: Sums of squared residuals, shape ``(rows,)``.
        noise: Variance of each agent's reward around its mean.
    """

    def __init__(self, width: int, ridge: float, offset: float, kappa: float, noise: float) -> None:
        self.width, self.ridge, self.offset = width, ridge, offset
        self._kappa, self._guess = kappa, noise**2
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self._version = 0  # Counts changes of `rows`.
        self._ordered: tuple[Sequence[str], int, list[int], bool] = ((), -1, [], False)
        self._allocate(LEAST_ROWS)

    def _allocate(self, rows: int) -> None:
        width = self.width
        # One block, so that one matrix-vector product gives variances and means together.
        self._block = np.zeros((rows, width + 1, width))
        self.sigma, self.mean = self._block[:, :width], self._block[:, width]
        self._step = np.empty((width + 1, width))
        self.spread = np.full((rows, width), 1.0 / self.ridge)
        self.count, self.residual = np.zeros(rows), np.zeros(rows)
        self.noise = np.full(rows, self._guess)

    def row(self, agent: str) -> int:
        """The agent's row; a new one is a copy of the prior."""
        if (found := self.rows.get(agent)) is not None:
            return found
        found = self._free.pop() if self._free else len(self.rows)
        if found >= len(self.mean):
            self._resize(2 * len(self.mean), self.width)
        self._blank(found)
        self.rows[agent] = found
        self._version += 1
        return found

    def _blank(self, row: int) -> None:
        self.mean[row], self.sigma[row] = 0.0, np.eye(self.width) / self.ridge
        self.spread[row] = 1.0 / self.ridge
        self._settle(row, 0.0, 0.0)

    def _settle(self, row: int, count: float, residual: float) -> None:
        count, residual = max(count, 0.0), max(residual, 0.0)
        self.count[row], self.residual[row] = count, residual
        self.noise[row] = (self._kappa * self._guess + residual) / (self._kappa + count)

    def _resize(self, rows: int, width: int) -> None:
        old, noise = (self.mean, self.sigma, self.count, self.residual), self.noise
        kept, known = len(self.mean), self.width
        self.width = width
        self._allocate(rows)
        self.sigma[:kept, range(known, width), range(known, width)] = 1.0 / self.ridge
        self.mean[:kept, :known], self.sigma[:kept, :known, :known] = old[0], old[1]
        self.count[:kept], self.residual[:kept] = old[2], old[3]
        self.noise[:kept] = noise
        if rows > LONG:
            self.spread[:] = np.diagonal(self.sigma, axis1=1, axis2=2)

    def widen(self, width: int) -> None:
        """Make room for features that turned up later; what is known of the others stays."""
        if width > self.width:
            self._resize(len(self.mean), width)

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
        block, width, step = self._block[row], self.width, self._step
        moved = block.dot(x)
        reach, error = moved[:width], reward - self.offset - moved.item(width)
        scale = 1.0 / weight + float(reach.dot(x))
        if weight < 0.0 and scale > -1e-9:
            return 0.0  # Rounding or forgetting has left less of the observation than is to be taken back.
        moved[width] = -error
        moved /= sqrt(abs(scale))
        # Covariance and mean move together, by one outer product; the same factor on both sides of the covariance
        # keeps it symmetric to the last bit.
        np.dot(moved[:, None], reach[None], out=step)
        if scale > 0.0:
            block -= step
        else:
            block += step
        if len(self.spread) > LONG:
            self.spread[row] = block.diagonal()
        surprise: float = error / sqrt(self.noise.item(row) * abs(scale))
        self._settle(row, self.count.item(row) + weight, self.residual.item(row) + error * error / scale)
        return surprise

    def correct(self, row: int, x: NDArray[np.float64], old: float, new: float, weight: float) -> None:
        """Replace the reward of an observation that was added before, at its weight."""
        reach = self.sigma[row] @ x
        delta = (new - old) * weight
        fit = float(self.mean[row] @ x) + self.offset
        change = weight * ((new - fit) ** 2 - (old - fit) ** 2) - delta * delta * float(reach @ x)
        self.mean[row] += reach * delta
        self._settle(row, self.count.item(row), self.residual.item(row) + change)

    def expected(self, x: NDArray[np.float64]) -> list[float]:
        """Mean reward at ``x`` by row."""
        found: list[float] = (self.mean[: len(self.rows) + len(self._free)].dot(x) + self.offset).tolist()
        return found

    def scores(self, agents: Sequence[str], x: NDArray[np.float64], alpha: float) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each agent's reward at ``x``, the latter times ``alpha``.

        Agents beyond a short-list of the most promising get width 0 where there are very many.
        """
        order, straight = self._order(agents)
        used, width, noise = len(self.rows) + len(self._free), self.width, self.noise
        if used > LONG:
            means, widths = short_listed(self.sigma, self.mean[:used], self.spread[:used], noise[:used], x, alpha)
        elif used:
            products = self._block[:used].reshape(-1, width).dot(x).reshape(used, width + 1)
            means, variances = products[:, width].tolist(), products[:, :width].dot(x).tolist()
            pairs = zip(variances, noise[:used].tolist(), strict=True)
            widths = [alpha * sqrt(v * s) if v > 0.0 else 0.0 for v, s in pairs]
        else:
            means, widths = [], []
        offset = self.offset
        if straight:
            return [offset + mean for mean in means], widths
        # The prior answers for an agent without a row; it stands last, where -1 finds it.
        means.append(0.0)
        widths.append(alpha * sqrt(self._guess * float(x.dot(x)) / self.ridge))
        return [offset + means[row] for row in order], [widths[row] for row in order]

    def _order(self, agents: Sequence[str]) -> tuple[list[int], bool]:
        """The agents' rows, -1 for one without, and whether they are all rows from the first to the last.

        Remembered, since requests mostly ask for the same agents.
        """
        asked, known, order, straight = self._ordered
        version, rows = self._version, self.rows
        if asked is not agents or known != version:
            order = [rows.get(agent, -1) for agent in agents]
            straight = order == list(range(len(rows) + len(self._free)))
            if isinstance(agents, tuple):
                self._ordered = (agents, version, order, straight)
        return order, straight

    def counts(self, agents: Iterable[str]) -> list[float]:
        """Observations of each agent."""
        rows, count = self.rows, self.count
        return [count.item(rows[agent]) if agent in rows else 0.0 for agent in agents]

    def catch_up(self, source: NormalGamma, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Become like ``source``, which changed in these rows since the last time."""
        if self._block.shape != source._block.shape:
            self.width = source.width
            self._allocate(len(source.mean))
            touched = {row: [] for row in range(len(source.mean))}
        for row in touched:
            self._block[row] = source._block[row]
            if len(self.spread) > LONG:
                self.spread[row] = source.spread[row]
            self.count[row] = source.count[row]
            self.noise[row] = source.noise[row]
        if self._version != source._version:
            self.rows = dict(source.rows)
            self._version = source._version
        self._free = list(source._free)

    def fade(self, agents: Iterable[str], share: float) -> None:
        """Let what is known count only a share of what it did; the prior stays whole."""
        prior = self.ridge * np.eye(self.width)
        for agent in agents:
            if (row := self.rows.get(agent)) is None:
                continue
            precision = np.linalg.inv(self.sigma[row])
            moment = share * (precision @ self.mean[row])
            faded = np.linalg.inv(prior + share * (precision - prior))
            self.sigma[row] = (faded + faded.T) / 2.0
            self.spread[row] = np.diagonal(self.sigma[row])
            self.mean[row] = self.sigma[row] @ moment
            self._settle(row, self.count.item(row) * share, self.residual.item(row) * share)

    def forget(self, agents: Iterable[str]) -> None:
        """Turn these agents' rows into the prior and leave them to newcomers."""
        for agent in agents:
            row = self.rows.pop(agent, None)
            if row is not None:
                self._version += 1
                self._blank(row)
                self._free.append(row)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is to be saved, in the order of the agents' names, holes left out."""
        order = [self.rows[name] for name in sorted(self.rows)]
        return {
            "mean": self.mean[order],
            "sigma": self.sigma[order],
            "count": self.count[order],
            "residual": self.residual[order],
        }

    def restore(self, names: list[str], arrays: dict[str, NDArray[Any]]) -> None:
        """Take over what ``arrays`` gave.

        Raises:
            ValueError: if a number is not finite, a count negative, or a covariance not positive definite.
        """
        mean, sigma, count, residual = checked(len(names), arrays)
        self.width, self.rows, self._free = mean.shape[1], {}, []
        self._allocate(max(LEAST_ROWS, len(names)))
        for index, name in enumerate(names):
            row = self.row(name)
            self.mean[row], self.sigma[row] = mean[index], sigma[index]
            self.spread[row] = np.diagonal(sigma[index])
            self._settle(row, float(count[index]), float(residual[index]))
