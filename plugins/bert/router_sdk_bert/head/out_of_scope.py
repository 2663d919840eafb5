"""How far a task is from everything seen, allowing for how far those things are from each other.

A task's mean distance to its nearest neighbours, less half their own: a local outlier score (Breunig et al., 2000) as a
difference, which on CLINC150 separates better than the ratio, the distance alone or the energy of the log odds. What
the logistic estimate says loudest is taken off, a little: it knows which directions matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.neighbours import Neighbours

NEAR = 20
"""Neighbours that a task's distance is measured to."""
AROUND = 5
"""Neighbours that theirs is measured to."""
ALLOWANCE = 0.5
"""Share of their own distance that is allowed for."""
LOUDNESS = 0.02
"""Distance that one unit of log odds, of the likeliest agent above the mean, makes up for."""
REFERENCES = 500
"""Rows among which surroundings are looked for."""


def novelty(neighbours: Neighbours, odds: NDArray[np.float64]) -> Any:
    """Novelty of a task, or of several: from about -0.1 amid what is well known to about 0.8 far from everything.

    Args:
        neighbours: The stored rows nearest to it.
        odds: The logistic estimate's log odds of all agents.
    """
    usual = neighbours.cosines[..., :NEAR] + ALLOWANCE * neighbours.density[..., :NEAR]
    # Sums of numpy's own kind, because its means take three times as long.
    loudest = np.maximum.reduce(odds, axis=-1) - np.add.reduce(odds, axis=-1) / odds.shape[-1]
    return 1.0 - np.add.reduce(usual, axis=-1) / usual.shape[-1] - LOUDNESS * loudest


def surroundings(
    vectors: NDArray[np.float32], references: NDArray[np.float32], own: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Mean distance of each vector to its nearest references, shape ``(n,)``; 0 where there are none.

    Args:
        vectors: Shape ``(n, d)``.
        references: Shape ``(r, d)``.
        own: Place of each reference among the vectors, if they are some of them: nothing is near because it is itself.
    """
    count = min(AROUND, len(references) - (own is not None))
    if count < 1:
        return np.zeros(len(vectors), dtype=np.float32)
    found = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), 1_024):
        cosines = vectors[start : start + 1_024] @ references.T
        if own is not None:
            within = np.flatnonzero((own >= start) & (own < start + 1_024))
            cosines[own[within] - start, within] = -1.0
        top = np.partition(cosines, cosines.shape[1] - count, axis=1)[:, cosines.shape[1] - count :]
        found[start : start + 1_024] = 1.0 - top.mean(axis=1)
    return found
