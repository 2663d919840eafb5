"""Random Fourier features: a linear posterior over them approximates a Gaussian process (Rahimi and Recht, 2007)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FourierFeatures:
    """Cosines of seeded random projections of a vector of length 1.

    Every column has a stream of its own, so a column that turns up later leaves the others as they are.

    Args:
        count: How many features.
        bandwidth: Standard deviation of the frequencies; larger bends faster.
        weight: Norm of the features' vector.
        seed: Seed of frequencies and phases.

    Attributes:
        count: How many features.
        drawn: How many there were at first.
    """

    def __init__(self, count: int, bandwidth: float, weight: float, seed: int) -> None:
        self.count, self.drawn, self._bandwidth, self._seed = count, count, bandwidth, seed
        self._amplitude = weight * float(np.sqrt(2.0 / max(count, 1)))
        self._phases = np.random.default_rng([seed, 0]).uniform(0.0, 2.0 * np.pi, count)
        self._frequencies = np.empty((count, 0))

    def grow(self, columns: int) -> None:
        """Draw the frequencies of columns up to that number."""
        known = self._frequencies.shape[1]
        if columns > known:
            fresh = [
                np.random.default_rng([self._seed, 1 + column]).normal(0.0, self._bandwidth, self.count)
                for column in range(known, columns)
            ]
            self._frequencies = np.column_stack([self._frequencies, *fresh])

    def keep(self, count: int) -> None:
        """Leave out all but the first so many; each of those counts for what it did."""
        self.count = count
        self._phases, self._frequencies = self._phases[:count].copy(), self._frequencies[:count].copy()

    def frozen(self) -> FourierFeatures:
        """A copy for requests, which later growth leaves alone."""
        return copy(self)  # `grow` and `keep` replace the arrays and never write to them.

    def features(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features of one vector of at most as many columns as were grown, shape ``(count,)``."""
        angles = self._frequencies[:, : len(vector)] @ vector
        angles += self._phases
        np.cos(angles, out=angles)
        angles *= self._amplitude
        return angles
