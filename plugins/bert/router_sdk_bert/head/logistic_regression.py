"""Logistic regression over stored vectors: L-BFGS in whitened coordinates, the same result for the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.design import Design
    from router_sdk_bert.head.losses import Loss

TOLERANCE = 1e-5
"""Relative fall of the loss below which a fit has converged."""


def fit_logistic(
    design: Design, loss: Loss, base: NDArray[np.float32], steps: int, start: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Weights of the design's columns, shape ``(c, columns)``.

    Args:
        design: The rows.
        loss: What log odds cost.
        base: Log odds that the fitted ones are added to, shape ``(n, columns)``; weights are drawn to 0, hence log odds
            to these.
        steps: Most steps of L-BFGS (Liu and Nocedal, 1989).
        start: Where to begin; zeros by default.
    """
    from scipy.optimize import minimize

    points, penalty = design.points, design.penalty[:, None]
    shape = (points.shape[1], base.shape[1])

    def cost(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape).astype(np.float32)
        value, slope = loss(base + points @ weights)
        held = penalty * weights
        value += 0.5 * float((held * weights).sum(dtype=np.float64))
        return value, (points.T @ slope + held).ravel().astype(np.float64)

    first = np.zeros(shape) if start is None else start
    found = minimize(
        cost,
        first.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "ftol": TOLERANCE, "gtol": 1e-4},
    )
    weights: NDArray[np.float32] = found.x.reshape(shape).astype(np.float32)
    return weights
