"""How much the logistic estimate and the neighbours count, fitted on outcomes that neither has seen.

A temperature for each source of log odds at once: stacking (Wolpert, 1992) with temperature scaling (Guo et al., 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.losses import Loss

DEFAULT = np.array([0.8, 0.8, 0.2])
"""Weights of logistic, narrow and wide evidence where there is nothing to fit them on."""
MASS = 10.0
"""Precision of the belief that these are right."""
MOST = 10.0
"""Largest weight."""
TOLERANCE = 1e-6
"""Relative fall of the loss below which the weights have converged."""


def fit_blend(sources: NDArray[np.float64], loss: Loss) -> NDArray[np.float64]:
    """Weights of each source of log odds, shape ``(s,)``.

    Args:
        sources: Log odds by source, row and column, shape ``(s, m, k)``; no rows give the default.
        loss: What the blended log odds cost.
    """
    from scipy.optimize import minimize

    if not sources.shape[1]:
        return DEFAULT.copy()

    flat = sources.reshape(len(sources), -1)

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = loss((weights @ flat).astype(np.float32).reshape(sources.shape[1:]))
        away = weights - DEFAULT
        return value + 0.5 * MASS * float(away @ away), flat @ slope.ravel().astype(np.float64) + MASS * away

    bounds = [(0.0, MOST)] * len(DEFAULT)
    found = minimize(cost, DEFAULT, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": TOLERANCE})
    weights: NDArray[np.float64] = found.x
    return weights
