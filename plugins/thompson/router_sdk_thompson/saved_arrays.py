"""Arrays on disk: what is written can be read, and what is read can be normal-inverse-gamma posteriors."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.state_file import array_of, check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array.

    Raises:
        ValueError: if a number is not finite.
    """
    check_finite(path.stem, array)
    np.save(path, array, allow_pickle=False)


def checked(agents: int, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Weights, covariances, counts and residuals of so many agents.

    Raises:
        ValueError: if a number is not finite, a count negative, a covariance not positive definite (a
            ``LinAlgError``), or the shapes do not fit each other.
    """
    mean = array_of(arrays, "mean", np.float64, (agents, None))
    width = mean.shape[1]
    sigma = array_of(arrays, "sigma", np.float64, (agents, width, width))
    count, residual = (array_of(arrays, key, np.float64, (agents,), (0.0, inf)) for key in ("count", "residual"))
    for each in sigma:
        np.linalg.cholesky(each)
    return mean, sigma, count, residual
