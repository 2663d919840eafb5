"""What a logistic regression sees of its rows: whitened coordinates, a constant, and products of the leading ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.surface import Axes, Surface
from router_sdk_bert.head.whitening import CURVATURE, Whitening, whiten

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_AXES = 48
"""Leading coordinates of which products are taken, at most."""
FEWEST_AXES = 16
"""Below that, products of so few coordinates are not worth having."""
MOST_WORK = 3e7
"""Multiplications, of rows, products and agents, that a pass over all rows may take for the sake of products."""


@dataclass(slots=True, frozen=True, eq=False)
class Design:
    """The columns of a regression over ``n`` rows.

    Attributes:
        whitening: Of the vectors.
        axes: The coordinates whose products are among the columns.
        centre: Mean of the products, shape ``(f,)``.
        scale: What they are multiplied by, shape ``(f,)``.
        points: Shape ``(n, c)``: whitened coordinates, a constant, products.
        penalty: On the weight of each column, shape ``(c,)``.
    """

    whitening: Whitening
    axes: Axes
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    points: NDArray[np.float32]
    penalty: NDArray[np.float32]

    def back(self, weights: NDArray[np.float32]) -> Surface:
        """Weights of the columns, shape ``(c, k)``, as log odds of vectors."""
        plain = len(weights) - len(self.scale)
        outer, intercepts = self.whitening.back(weights[:plain])
        curvature = np.ascontiguousarray((self.scale[:, None] * weights[plain:]).T)
        intercepts -= curvature @ self.centre
        return Surface(outer, intercepts, self.axes, curvature)


def design(vectors: NDArray[np.float32], weight: NDArray[np.float32], ridge: float, agents: int) -> Design:
    """Columns for some rows.

    Products of principal coordinates hardly correlate, so that scaling each is whitening enough. Together they vary as
    much as the vectors do: else the penalty would be another one for them.

    Args:
        vectors: Shape ``(n, d)``, at least one.
        weight: Shape ``(n,)``, not all 0.
        ridge: Penalty on the weights.
        agents: How many log odds are to be fitted; the more, the fewer products can be paid for.
    """
    whitening = whiten(vectors, weight, ridge)
    paid = int(MOST_WORK / (len(vectors) * max(agents, 1)))
    count = min((isqrt(8 * paid + 1) - 1) // 2, MOST_AXES)
    rank = whitening.turn.shape[1]
    # The whitening has the directions in order of variance, each scaled by what that is.
    size = np.linalg.norm(whitening.turn, axis=0)
    spread = float(((np.square(1.0 / size) - ridge) / CURVATURE).sum())
    leading = (whitening.turn / size)[:, rank - min(count, rank) if count >= FEWEST_AXES else rank :]
    axes = Axes(leading, whitening.centre @ leading)
    products = axes.products(vectors)
    centre = (weight @ products) / weight.sum()
    products -= centre
    variance = weight @ np.square(products)
    stretch = np.float32(np.sqrt(spread / max(float(variance.sum()), 1e-12)))
    axes = Axes(leading * np.sqrt(stretch), axes.shift * np.sqrt(stretch))
    scale = 1.0 / np.sqrt(CURVATURE * variance * stretch**2 + np.float32(ridge))
    products *= stretch * scale
    points = np.concatenate((whitening.points, products), axis=1)
    penalty = np.concatenate((whitening.penalty, np.float32(ridge) * scale**2))
    return Design(whitening, axes, centre * stretch, scale, points, penalty)
