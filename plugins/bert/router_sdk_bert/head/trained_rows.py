"""Rows of a classifier that an encoder came with: where the logistic estimate starts, and what it is drawn to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.surface import Surface


@dataclass(slots=True, frozen=True, eq=False)
class TrainedRows:
    """Log odds that are linear in a vector, by agent.

    Attributes:
        names: Agents.
        weights: Shape ``(k, d)``.
        intercepts: Shape ``(k,)``.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]

    def of(self, agents: Sequence[str | None]) -> TrainedRows:
        """The rows of these agents, less their mean: one that was not trained stands at the average of the others."""
        place_of = {name: place for place, name in enumerate(self.names)}
        places = [place_of.get(name, -1) if name is not None else -1 for name in agents]
        trained = np.array([place >= 0 for place in places], dtype=bool)
        weights = np.where(trained[:, None], self.weights[places], 0.0).astype(np.float32)
        intercepts = np.where(trained, self.intercepts[places], 0.0).astype(np.float32)
        if trained.any():
            weights[trained] -= weights[trained].mean(axis=0)
            intercepts[trained] -= intercepts[trained].mean()
        return TrainedRows(tuple(str(name) for name in agents), weights, intercepts)

    def odds(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log odds of vectors of shape ``(n, d)``, shape ``(n, k)``."""
        found: NDArray[np.float32] = vectors @ self.weights.T + self.intercepts
        return found

    def added_to(self, surface: Surface) -> Surface:
        """A surface that was fitted to what these rows leave, with these rows."""
        weights, intercepts = surface.weights + self.weights, surface.intercepts + self.intercepts
        return replace(surface, weights=weights, intercepts=intercepts)
