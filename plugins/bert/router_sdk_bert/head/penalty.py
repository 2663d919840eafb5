"""How far weights are drawn to nothing: chosen from the rows themselves, by what each penalty foretells of others.

Where texts say who succeeds, a small penalty is right; of grades, and of successes that hardly depend on the text, a
vector with hundreds of coordinates finds patterns that are not there. So each penalty's error on rows to come is
estimated by Mallows' criterion for ridge regression on what was earned ("Some comments on Cp", Technometrics 1973), in
coordinates in which the rows do not correlate: there one product of rows and rewards tells of all penalties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.logistic_regression import CURVATURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.logistic_regression import RegressionFeatures

PENALTIES = 10.0 ** np.arange(-1.0, 3.01, 0.25)
"""Penalties among which is chosen, for squared errors."""
ROUNDS = 4
"""How often the noise is estimated by what the best penalty leaves of the rewards' variance."""
LEAST_NOISE = 1e-3
"""Share of the variance that is taken to be noise, at least."""


def choose_penalty(
    features: RegressionFeatures, good: NDArray[np.float32], bad: NDArray[np.float32], total: float, least: float
) -> float:
    """The penalty on the weights of log odds that promises the smallest squared error on rows to come.

    Only the vectors' own coordinates are looked at: products of them correlate too much to be taken one by one.

    Args:
        features: Of the rows, with ``least`` as their penalty.
        good: How far each row says that each agent succeeds, shape ``(n, k)``.
        bad: How far it says that it fails, of the same shape.
        total: Weight of all rows that the features were made from.
        least: Smallest penalty for log odds.
    """
    mass = good + bad
    count = mass.sum(axis=0, dtype=np.float64)
    told = count > 0.0
    if not told.any():
        return least
    good, mass, count = good[:, told], mass[:, told], count[told]
    mean = good.sum(axis=0, dtype=np.float64) / count
    squares = np.square(good) / np.maximum(mass, np.finfo(np.float32).tiny)
    variance = np.maximum(squares.sum(axis=0, dtype=np.float64) / count - mean**2, 0.0)
    points = features.whitening.points[:, :-1]  # without the constant
    along = np.square(points.T @ (good - mass * mean.astype(np.float32)), dtype=np.float64)
    # The coordinates are scaled by ``1 / sqrt(CURVATURE variance + least)``, so the penalty tells the variance.
    held = features.whitening.penalty[:-1].astype(np.float64)[:, None]
    curves = (1.0 - held) / (CURVATURE * total) * count
    shares = [1.0 / (curves + each / least * held) for each in PENALTIES]
    # What each penalty takes off the squared error, as far as it seems, and what noise of variance 1 makes of that.
    seeming = np.array([(along * share * (2.0 - curves * share)).sum(axis=0) for share in shares])
    costs = np.array([(2.0 * curves * share).sum(axis=0) for share in shares])
    noise, best = variance, 0
    for _ in range(ROUNDS):
        gains = seeming - costs * noise
        best = int(gains.sum(axis=1).argmax())
        noise = np.clip(variance - gains[best] / count, LEAST_NOISE * variance, variance)
    # The loss of log odds curves by p (1 - p), which is what is left of that of the mean where the texts tell.
    curvature = float((count * np.maximum(mean * (1.0 - mean) - variance + noise, 0.0)).sum() / count.sum())
    return max(curvature * float(PENALTIES[best]), least)
