"""Places rows among what a model was made from: their coarse vectors, and how far they are from their surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.neighbours import coarse_of
from router_sdk_bert.head.out_of_scope import surroundings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.memory import Memory
    from router_sdk_bert.head.refit import Model


def join(vector: NDArray[np.float32], model: Model | None) -> tuple[NDArray[np.float32] | None, float]:
    """Coarse vector and density of one row that the model was not made from."""
    if model is None:
        return None, 0.0
    coarse = None if model.projection is None else coarse_of(vector, model.projection)
    return coarse, float(surroundings(vector[None], model.references)[0])


def rejoin(memory: Memory, model: Model, density: NDArray[np.float32]) -> None:
    """Place all rows anew, in new arrays: those of the refit together, later ones as if they joined just now.

    Args:
        memory: The rows.
        model: The newest refit.
        density: That of the rows it was made from, which come first.
    """
    if memory.vectors is None:
        return
    count, densities, coarse = len(density), memory.columns["density"].copy(), None
    densities[:count] = density
    if model.projection is not None:
        coarse = np.zeros((len(memory.vectors), model.projection.shape[1] + 1), dtype=np.float32)
        coarse[:count] = coarse_of(memory.vectors[:count], model.projection)
    for place in range(count, memory.used):
        projected, densities[place] = join(memory.vectors[place], model)
        if coarse is not None and projected is not None:
            coarse[place] = projected
    memory.columns["density"], memory.coarse = densities, coarse
