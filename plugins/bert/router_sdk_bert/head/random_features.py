"""Fixed random rectified features, as in RanPAC (McDonnell et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
