"""Ridge regression of who is right on random features, from sums alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class RandomFeatures:
    """The same features for the same seed and dimensions.

    Args:
        dimension: Of the vectors.
        count: How many features.
        seed: Seed of the projection.
    """

    def __init__(self, dimension: int, count: int, seed: int) -> None:
        self.dimension = dimension
        rng = np.random.default_rng([seed, dimension, count])
        self._turn = rng.normal(size=(dimension, count)).astype(np.float32)
        self._scale = np.float32(1.0 / np.sqrt(count))

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of shape ``(n, count)`` for vectors of shape ``(n, d)``, or ``(count,)`` for one."""
        found = vectors @ self._turn
        np.maximum(found, 0.0, out=found)
        found *= self._scale
        return found


PENALTIES = (0.03, 0.3, 3.0)
"""Penalties among which generalised cross-validation (Golub, Heath and Wahba, 1979) chooses."""


@dataclass(slots=True, eq=False)
class RidgeSums:
    """Second moments of features and targets.

    Attributes:
        gram: Sum of the features' outer products, shape ``(m, m)``; its lower triangle counts.
        total: Sum of the features, shape ``(m,)``.
        count: Weight of all rows.
        good: By code, the features' sum where that agent was right, and how often, shape ``(m + 1,)``.
        bad: The same where it failed and nobody said who was right.
    """

    gram: NDArray[np.float32]
    total: NDArray[np.float64]
    count: float
    good: dict[int, NDArray[np.float64]]
    bad: dict[int, NDArray[np.float64]]

    @classmethod
    def empty(cls, features: int) -> RidgeSums:
        """Nothing seen yet."""
        return cls(np.zeros((features, features), dtype=np.float32), np.zeros(features), 0.0, {}, {})

    def copy(self) -> RidgeSums:
        """Sums of its own."""
        return RidgeSums(self.gram.copy(), self.total.copy(), self.count, dict(self.good), dict(self.bad))

    def add(self, features: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
        """Add the features of rows; what they say comes by ``tell``."""
        self.gram += (features * weight[:, None]).T @ features
        self.total += features.T @ weight.astype(np.float64)
        self.count += float(weight.sum(dtype=np.float64))

    def tell(self, code: int, features: NDArray[np.float32], mass: float, *, good: bool) -> None:
        """Add what one row says of an agent; a negative mass takes it back."""
        sums = self.good if good else self.bad
        told = mass * np.append(features, np.float32(1.0)).astype(np.float64)
        sums[code] = sums[code] + told if code in sums else told

    def solve(self, codes: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Weights ``(k, m)``, intercepts ``(k,)`` and the penalty, for these agents.

        A failure says that each of the others is right with equal chance.
        """
        from scipy.linalg import cho_solve, cholesky, get_lapack_funcs

        size, count = len(self.total), max(self.count, 1e-9)
        targets = np.zeros((size + 1, len(codes)))
        others = max(len(codes) - 1, 1)
        failed = sum((self.bad[code] for code in codes if code in self.bad), np.zeros(size + 1))
        for column, code in enumerate(codes):
            targets[:, column] = self.good.get(code, 0.0) + (failed - self.bad.get(code, 0.0)) / others
        mean, mean_target = self.total / count, targets[-1] / count
        centred = self.gram - np.outer(self.total, mean).astype(np.float32)
        moments = (targets[:-1] - np.outer(self.total, mean_target)).astype(np.float32)
        power = float((targets[-1] - count * mean_target**2).sum())
        best: tuple[float, NDArray[np.float32], float] | None = None
        for penalty in PENALTIES:
            held = centred.copy()
            held[np.diag_indices(size)] += np.float32(penalty)
            factor = cholesky(held, lower=True, overwrite_a=True, check_finite=False)
            weights = cho_solve((factor, True), moments, check_finite=False)
            invert = get_lapack_funcs("trtri", (factor,))
            inverse, _ = invert(factor, lower=1)
            free = size - penalty * float(np.square(np.tril(inverse), dtype=np.float64).sum())
            # The residual: what is left of the targets' power, since (gram + penalty) weights = moments.
            left = (
                power
                - float((weights * moments).sum(dtype=np.float64))
                - penalty * float(np.square(weights, dtype=np.float64).sum())
            )
            score = max(left, 1e-9) / max(count - free - 1.0, 1e-3) ** 2
            if best is None or score < best[0]:
                best = score, weights, penalty
        assert best is not None
        weights = np.ascontiguousarray(best[1].T)
        return weights, (mean_target - weights @ mean).astype(np.float32), best[2]
