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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEAST_ROWS = 4
SHORT_LIST = 16
"""Agents whose full variance is computed where there are more than ``LONG``."""
LONG = 64


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
        spread: Their diagonals, shape ``(rows, d)``.
        count: Observations, shape ``(rows,)``.
        residual: Sums of squared residuals, shape ``(rows,)``.
        noise: Variance of each agent's reward around its mean.
    """

    def __init__(self, width: int, ridge: float, offset: float, kappa: float, noise: float) -> None:
        self.width, self.ridge, self.offset = width, ridge, offset
        self._kappa, self._guess = kappa, noise**2
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self._allocate(LEAST_ROWS)

    def _allocate(self, rows: int) -> None:
        width = self.width
        # One block, so that a request needs one matrix-vector product for variances and means together.
        self._block = np.zeros((rows, width + 1, width))
        self.sigma, self.mean = self._block[:, :width], self._block[:, width]
        self.spread = np.full((rows, width), 1.0 / self.ridge)
        self.count, self.residual = np.zeros(rows), np.zeros(rows)
        self.noise = [self._guess] * rows

    def row(self, agent: str) -> int:
        """The agent's row; a new one is a copy of the prior."""
        found = self.rows.get(agent)
        if found is not None:
            return found
        found = self._free.pop() if self._free else len(self.rows)
        if found >= len(self.mean):
            self._resize(2 * len(self.mean), self.width)
        self.mean[found] = 0.0
        self.sigma[found] = np.eye(self.width) / self.ridge
        self.spread[found] = 1.0 / self.ridge
        self._settle(found, 0.0, 0.0)
        self.rows[agent] = found
        return found

    def _settle(self, row: int, count: float, residual: float) -> None:
        count, residual = max(count, 0.0), max(residual, 0.0)
        self.count[row], self.residual[row] = count, residual
        self.noise[row] = (self._kappa * self._guess + residual) / (self._kappa + count)

    def _resize(self, rows: int, width: int) -> None:
        old = (self.mean, self.sigma, self.spread, self.count, self.residual)
        noise = self.noise
        kept, known = len(self.mean), self.width
        self.width = width
        self._allocate(rows)
        self.sigma[:kept, range(known, width), range(known, width)] = 1.0 / self.ridge
        self.mean[:kept, :known], self.sigma[:kept, :known, :known] = old[0], old[1]
        self.spread[:kept, :known], self.count[:kept], self.residual[:kept] = old[2], old[3], old[4]
        self.noise[:kept] = noise

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
        sigma, mean = self.sigma[row], self.mean[row]
        reach = sigma @ x
        scale = 1.0 / weight + float(reach @ x)
        if weight < 0.0 and scale > -1e-9:
            return 0.0  # Rounding or forgetting has left less of the observation than is to be taken back.
        error = reward - self.offset - float(mean @ x)
        mean += reach * (error / scale)
        reach /= sqrt(abs(scale))
        # The same factor on both sides keeps the matrix symmetric to the last bit.
        step = np.multiply.outer(reach, reach)
        square = reach * reach
        if scale > 0.0:
            sigma -= step
            self.spread[row] -= square
        else:
            sigma += step
            self.spread[row] += square
        surprise = error / sqrt(self.noise[row] * abs(scale))
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

    def scores(self, agents: Iterable[str], x: NDArray[np.float64], alpha: float) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each agent's reward at ``x``, the latter times ``alpha``.

        Agents beyond a short-list of the most promising get width 0 where there are very many.
        """
        rows, used, width = self.rows, len(self.rows) + len(self._free), self.width
        new_mean, new_width = self.offset, alpha * sqrt(self._guess * float(x @ x) / self.ridge)
        if used > LONG:
            means, variances = self._short_listed(x, alpha, used)
        elif used:
            products = (self._block[:used].reshape(used * (width + 1), width) @ x).reshape(used, width + 1)
            means, variances = products[:, width].tolist(), (products[:, :width] @ x).tolist()
        found_means, found_widths, noise = [], [], self.noise
        for agent in agents:
            row = rows.get(agent)
            if row is None or row >= used:
                found_means.append(new_mean)
                found_widths.append(new_width)
            else:
                variance = variances[row] * noise[row]
                found_means.append(self.offset + means[row])
                found_widths.append(alpha * sqrt(variance) if variance > 0.0 else 0.0)
        return found_means, found_widths

    def counts(self, agents: Iterable[str]) -> list[float]:
        """Observations of each agent."""
        rows, count = self.rows, self.count
        return [count.item(rows[agent]) if agent in rows else 0.0 for agent in agents]

    def _short_listed(self, x: NDArray[np.float64], alpha: float, used: int) -> tuple[list[float], list[float]]:
        means = self.mean[:used] @ x
        rough = self.spread[:used] @ (x * x)
        rough *= self.noise[:used]
        hopes = means + 2.0 * alpha * np.sqrt(np.maximum(rough, 0.0, out=rough))
        variances = [0.0] * used
        for row in np.argpartition(hopes, used - SHORT_LIST)[used - SHORT_LIST :].tolist():
            variances[row] = float((self.sigma[row] @ x) @ x)
        return means.tolist(), variances

    def catch_up(self, source: NormalGamma, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Become like ``source``, which changed in these rows since the last time."""
        if self._block.shape != source._block.shape:
            self.width = source.width
            self._allocate(len(source.mean))
            touched = {row: [] for row in range(len(source.mean))}
        for row in touched:
            self._block[row] = source._block[row]
            self.spread[row] = source.spread[row]
            self.count[row] = source.count[row]
            self.noise[row] = source.noise[row]
        if self.rows != source.rows:
            self.rows = dict(source.rows)
        self._free = list(source._free)

    def fade(self, agents: Iterable[str], share: float) -> None:
        """Let what is known count only a share of what it did; the prior stays whole."""
        prior = self.ridge * np.eye(self.width)
        for agent in agents:
            row = self.rows.get(agent)
            if row is None:
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
                self.mean[row], self.sigma[row] = 0.0, np.eye(self.width) / self.ridge
                self.spread[row] = 1.0 / self.ridge
                self._settle(row, 0.0, 0.0)
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
        mean, sigma, count, residual = (arrays[key] for key in ("mean", "sigma", "count", "residual"))
        width = mean.shape[1] if mean.ndim == 2 else -1
        if sigma.shape != (len(names), width, width) or len(mean) != len(names):
            raise ValueError("arrays do not fit each other")
        if not all(np.isfinite(array).all() for array in (mean, sigma, count, residual)):
            raise ValueError("posterior is not finite")
        if (count < 0).any() or (residual < 0).any():
            raise ValueError("alpha and beta must be at least 0")
        for each in sigma:
            np.linalg.cholesky(each)
        self.width, self.rows, self._free = width, {}, []
        self._allocate(max(LEAST_ROWS, len(names)))
        for index, name in enumerate(names):
            row = self.row(name)
            self.mean[row], self.sigma[row] = mean[index], sigma[index]
            self.spread[row] = np.diagonal(sigma[index])
            self._settle(row, float(count[index]), float(residual[index]))
