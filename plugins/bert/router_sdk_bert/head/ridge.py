"""Ridge regression of who is right on random features, from sums alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.state_file import array_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PENALTIES = (0.03, 0.3, 3.0)
"""Penalties among which generalised cross-validation (Golub, Heath and Wahba, 1979) chooses."""
MOST = 1e18
"""What no sum of weights reaches."""
SLACK, LEAST = 1.1, 1e-6
"""What rounding is allowed for where a mean square is compared with the square of a mean."""


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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What ``read_sums`` reads."""
        good = {f"good.{code}": told for code, told in self.good.items()}
        bad = {f"bad.{code}": told for code, told in self.bad.items()}
        return {"gram": self.gram, "total": self.total, **good, **bad}

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


@dataclass(slots=True, frozen=True, eq=False)
class RidgeSolution:
    """One solution.

    Attributes:
        columns: Codes of the agents, shape ``(k,)``.
        weights: Shape ``(k, m)``.
        intercepts: Shape ``(k,)``.
        means: Mean vector of each agent, of length 1, shape ``(k, d)``.
        penalty: The ridge that cross-validation chose.
    """

    columns: NDArray[np.intp]
    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    means: NDArray[np.float32]
    penalty: float

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What ``read_solution`` reads."""
        return {f"model.{key}": getattr(self, key) for key in ("columns", "weights", "intercepts", "means")}


def read_solution(arrays: Mapping[str, NDArray[Any]], penalty: float, features: int, dimension: int) -> RidgeSolution:
    """The solution of which the arrays were read from disk.

    Raises:
        KeyError: if an array is missing.
        ValueError: if they do not fit each other.
    """
    columns = array_of(arrays, "model.columns", np.int64, (None,))
    weights = array_of(arrays, "model.weights", np.float32, (len(columns), features))
    intercepts = array_of(arrays, "model.intercepts", np.float32, (len(columns),))
    means = array_of(arrays, "model.means", np.float32, (len(columns), dimension))
    return RidgeSolution(columns.astype(np.intp), weights, intercepts, means, penalty)


def read_sums(arrays: Mapping[str, NDArray[Any]], count: float, features: int) -> RidgeSums:
    """The sums of which the arrays were read from disk.

    Raises:
        KeyError: if an array is missing.
        ValueError: if they do not fit each other.
    """
    gram = array_of(arrays, "gram", np.float32, (features, features))
    total = array_of(arrays, "total", np.float64, (features,), (0.0, MOST))
    if (total**2 > count * (gram.diagonal().astype(np.float64) * SLACK + LEAST)).any():
        raise ValueError("no features have these moments")
    good, bad = (sums_by_code(arrays, part, features + 1) for part in ("good", "bad"))
    return RidgeSums(gram, total, count, good, bad)


def sums_by_code(arrays: Mapping[str, NDArray[Any]], part: str, length: int) -> dict[int, NDArray[np.float64]]:
    """The sums of each agent, by its code, among arrays that were read from disk.

    Raises:
        ValueError: if one is of another type or length.
    """
    start = f"{part}."
    return {
        int(name.removeprefix(start)): array_of(arrays, name, np.float64, (length,))
        for name in arrays
        if name.startswith(start)
    }
