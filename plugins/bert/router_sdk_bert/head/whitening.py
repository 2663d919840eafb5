"""Coordinates in which a logistic regression on embeddings is well conditioned, so that ten steps do for a hundred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CURVATURE = 0.04
"""Curvature of the loss in one log odds that is assumed: p(1 - p) of a model that is mostly sure."""
LEAST_SHARE = 1e-7
"""Share of the largest variance below which a direction counts as empty."""


@dataclass(slots=True, frozen=True, eq=False)
class Whitening:
    """A centred, scaled rotation of ``n`` vectors.

    Attributes:
        centre: Weighted mean of the vectors, shape ``(d,)``.
        turn: Shape ``(d, r)``; maps a centred vector to its new coordinates.
        points: The vectors in the new coordinates and a column for the intercept, shape ``(n, r + 1)``.
        penalty: What the penalty on a weight becomes there, shape ``(r + 1,)``.
    """

    centre: NDArray[np.float32]
    turn: NDArray[np.float32]
    points: NDArray[np.float32]
    penalty: NDArray[np.float32]

    def back(self, weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights of shape ``(r + 1, k)`` as those of the vectors themselves, ``(k, d)``, and intercepts ``(k,)``."""
        outer = np.ascontiguousarray((self.turn @ weights[:-1]).T)
        return outer, self.points[0, -1] * weights[-1] - outer @ self.centre


def whiten(vectors: NDArray[np.float32], weight: NDArray[np.float32], ridge: float) -> Whitening:
    """Turn vectors so that the loss curves alike in all directions, as far as their second moments tell.

    Args:
        vectors: Shape ``(n, d)``, at least one.
        weight: Shape ``(n,)``, not all 0.
        ridge: Penalty on the weights.
    """
    total = float(weight.sum(dtype=np.float64))
    centre = (weight @ vectors) / np.float32(total)
    centred = vectors - centre
    spread = centred * np.sqrt(weight)[:, None]
    if len(vectors) < vectors.shape[1]:
        variance, left = np.linalg.eigh(spread @ spread.T)
        kept = variance > LEAST_SHARE * max(float(variance[-1]), 1e-12)
        variance = variance[kept]
        axes = spread.T @ (left[:, kept] / np.sqrt(variance))
    else:
        variance, axes = np.linalg.eigh(spread.T @ spread)
        kept = variance > LEAST_SHARE * max(float(variance[-1]), 1e-12)
        variance, axes = variance[kept], axes[:, kept]
    scale = 1.0 / np.sqrt(CURVATURE * variance + ridge)
    turn = np.ascontiguousarray(axes * scale, dtype=np.float32)
    constant = 1.0 / np.sqrt(CURVATURE * total + ridge)
    points = np.empty((len(vectors), turn.shape[1] + 1), dtype=np.float32)
    np.matmul(centred, turn, out=points[:, :-1])
    points[:, -1] = constant
    penalty = (ridge * np.append(scale, constant) ** 2).astype(np.float32)
    return Whitening(centre, turn, points, penalty)
