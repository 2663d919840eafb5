"""Scores of very many agents: everyone's mean, and the variance of those alone that could be chosen.

A covariance is a matrix per agent, and a thousand of them do not fit into a cache. So hope is estimated from the
diagonals, which do, and the matrices of the most promising few are read.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LONG = 64
"""Agents beyond which only a short-list's variances are computed."""
SHORT_LIST = 16
REACH = 2.0
"""Standard deviations by which hope exceeds the mean."""


def short_listed(
    sigma: Floats, mean: Floats, spread: Floats, noise: Floats, x: Floats, alpha: float
) -> tuple[list[float], list[float]]:
    """Mean of every agent, and ``alpha`` standard deviations of the most promising; 0 for the others.

    Args:
        sigma: Covariances, shape ``(k, d, d)``.
        mean: Weights, shape ``(k, d)``.
        spread: Diagonals of the covariances, shape ``(k, d)``.
        noise: Variance of each agent's reward, shape ``(k,)``.
        x: Features, shape ``(d,)``.
        alpha: Standard deviations that doubt is worth.
    """
    means = mean.dot(x)
    rough = spread.dot(x * x)
    rough *= noise
    np.sqrt(rough, out=rough)
    rough *= REACH * alpha
    rough += means
    widths = [0.0] * len(means)
    first = len(means) - SHORT_LIST
    for row in rough.argpartition(first)[first:].tolist():
        variance = noise.item(row) * float(sigma[row].dot(x).dot(x))
        widths[row] = alpha * sqrt(variance) if variance > 0.0 else 0.0
    return means.tolist(), widths
