"""Arrays on disk: what is written can be read, and what is read can be normal-inverse-gamma posteriors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array.

    Raises:
        ValueError: if a number is not finite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{path.stem} is not finite")
    np.save(path, array, allow_pickle=False)


def checked(agents: int, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Weights, covariances, counts and residuals of so many agents.

    Raises:
        ValueError: if a number is not finite, a count negative, a covariance not positive definite (a
            ``LinAlgError``), or the shapes do not fit each other.
    """
    mean, sigma, count, residual = (arrays[key] for key in ("mean", "sigma", "count", "residual"))
    width = mean.shape[1] if mean.ndim == 2 else -1
    if sigma.shape != (agents, width, width) or any(len(array) != agents for array in (mean, count, residual)):
        raise ValueError("arrays do not fit each other")
    if not all(np.isfinite(array).all() for array in (mean, sigma, count, residual)):
        raise ValueError("posterior is not finite")
    if (count < 0).any() or (residual < 0).any():
        raise ValueError("alpha and beta must be at least 0")
    for each in sigma:
        np.linalg.cholesky(each)
    return mean, sigma, count, residual
