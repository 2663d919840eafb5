"""The logistic estimate: log odds that are linear in a vector and in products of its leading coordinates.

One agent's tasks are often several clusters, which no plane divides from the others. A quadric in the few directions
in which tasks differ most does so far better, and needs two small products more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@cache
def _pairs(axes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and second axis of each product."""
    return np.triu_indices(axes)


@dataclass(slots=True, frozen=True, eq=False)
class Axes:
    """Leading coordinates.

    Attributes:
        turn: Shape ``(d, r)``; maps a vector to them.
        shift: What is taken off, shape ``(r,)``.
    """

    turn: NDArray[np.float32]
    shift: NDArray[np.float32]

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The coordinates of vectors of shape ``(n, d)`` or ``(d,)``, along the last axis."""
        return vectors @ self.turn - self.shift

    def products(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """All ``r (r + 1) / 2`` products for vectors of shape ``(n, d)`` or ``(d,)``, along the last axis."""
        first, second = _pairs(len(self.shift))
        found = self.of(vectors)
        return found[..., first] * found[..., second]


@dataclass(slots=True, frozen=True, eq=False)
class Surface:
    """Log odds of ``k`` agents.

    Attributes:
        weights: Of the vector, shape ``(k, d)``.
        intercepts: Shape ``(k,)``.
        axes: The coordinates whose products count; may be none.
        curvature: Weights of the products, shape ``(k, r (r + 1) / 2)``.
        forms: The same as one triangular matrix per agent, shape ``(k r, r)``, for a request's single vector.
    """

    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    axes: Axes
    curvature: NDArray[np.float32]
    forms: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        agents, axes = len(self.curvature), len(self.axes.shift)
        forms = np.zeros((agents, axes, axes), dtype=np.float32)
        forms[:, *_pairs(axes)] = self.curvature
        object.__setattr__(self, "forms", forms.reshape(agents * axes, axes))

    def odds(self, vector: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log odds for one vector, shape ``(k,)``."""
        found = self.weights @ vector + self.intercepts
        if self.curvature.shape[1]:
            along = self.axes.of(vector)
            found += (self.forms @ along).reshape(len(found), -1) @ along
        return found.astype(np.float64)
