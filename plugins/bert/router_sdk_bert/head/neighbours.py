"""The nearest stored vectors: coarse by a projection, exact among the best of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts, Shelf, Shelves

COARSE = 48
"""Columns of a coarse vector."""
ASIDE = np.float32(0.2)
"""Cosine that is assumed between what the projection leaves out of two vectors."""
FEW = 2_000
"""Rows up to which every one is compared exactly."""
SHORTLIST = 6
"""Rows that are compared exactly, for each that is asked for."""
DROPPED = np.float32(-9.0)
"""Cosine of rows that count for nothing."""


class Neighbours(NamedTuple):
    """The rows nearest to one vector, nearest first.

    Attributes:
        cosines: Shape ``(k,)``.
        facts: What is known of each.
        density: Mean distance of each to its own surroundings.
        places: Where each is, counted through all shelves.
    """

    cosines: NDArray[np.float32]
    facts: Facts
    density: NDArray[np.float32]
    places: NDArray[np.intp]


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the highest scores in their own order, and of all that are level with the lowest of those."""
    if count >= len(scores):
        return np.arange(len(scores))
    # Three times as fast as an argpartition.
    places: NDArray[np.intp] = (scores >= np.partition(scores, -count)[-count]).nonzero()[0]
    return places


def coarse_of(vectors: NDArray[np.float32], projection: NDArray[np.float32]) -> NDArray[np.float32]:
    """A projection, and in one more column what it leaves out, so that coarse products estimate cosines.

    Args:
        vectors: Shape ``(n, d)`` or ``(d,)``, of length 1.
        projection: Shape ``(d, c)``, with orthogonal columns of length 1.

    Returns:
        Shape ``(n, c + 1)`` or ``(c + 1,)``.
    """
    found = np.empty((*vectors.shape[:-1], projection.shape[1] + 1), dtype=np.float32)
    inside = np.matmul(vectors, projection, out=found[..., :-1])
    found[..., -1] = np.sqrt(ASIDE * np.maximum(1.0 - np.square(inside).sum(axis=-1), 0.0))
    return found


def _candidates(
    shelf: Shelf, vector: NDArray[np.float32], coarse: NDArray[np.float32] | None, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places of rows among which the nearest are, in the shelf's order, and their cosines."""
    if shelf.coarse is None or coarse is None or len(shelf) <= FEW:
        scores = shelf.vectors @ vector
        scores[shelf.dropped] = DROPPED
        places = _highest(scores, count)
        return places, scores[places]
    rough = shelf.coarse @ coarse
    rough[shelf.dropped] = DROPPED
    places = _highest(rough, SHORTLIST * count)
    scores = shelf.vectors.take(places, axis=0) @ vector
    if len(shelf.dropped):
        scores[rough[places] == DROPPED] = DROPPED
    return places, scores


def nearest(
    shelves: Shelves, vector: NDArray[np.float32], projection: NDArray[np.float32] | None, count: int
) -> Neighbours | None:
    """The nearest rows, the first of those that are equally near; None where all shelves are empty.

    Args:
        shelves: Where to look.
        vector: Shape ``(d,)``, of length 1.
        projection: Shape ``(d, c)``, by which the shelves' coarse vectors were made.
        count: How many are wanted.
    """
    coarse = None if projection is None else coarse_of(vector, projection)
    start, places, cosines = 0, [], []
    for shelf in shelves.blocks:
        if len(shelf.dropped) < len(shelf):
            found, scores = _candidates(shelf, vector, coarse, count)
            places.append(found + start)
            cosines.append(scores)
        start += len(shelf)
    if not places:
        return None
    scores = np.concatenate(cosines)
    order = (-scores).argsort(kind="stable")[:count]
    chosen, where = scores[order], np.concatenate(places)[order]
    if chosen[-1] <= DROPPED:
        kept = chosen > DROPPED
        chosen, where = chosen[kept], where[kept]
    return Neighbours(chosen, shelves.facts.take(where), shelves.density[where], where)


def nearest_of_many(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], weight: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Cosines and places of the nearest rows for many vectors at once, each of shape ``(m, k)``, in no order."""
    count = min(count, len(vectors))
    cosines = np.empty((len(queries), count), dtype=np.float32)
    places = np.empty((len(queries), count), dtype=np.intp)
    for start in range(0, len(queries), 256):
        scores = queries[start : start + 256] @ vectors.T
        scores[:, weight <= 0.0] = DROPPED
        found = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
        places[start : start + 256] = found
        cosines[start : start + 256] = np.take_along_axis(scores, found, axis=1)
    return cosines, places
