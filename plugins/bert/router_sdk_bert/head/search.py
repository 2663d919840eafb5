"""The nearest stored vectors: coarse by a projection, exact among the best of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk_bert.head.shelf import stack_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts, Shelf

COARSE = 48
"""Columns of the projection."""
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
        shelf: Number of the shelf that each is on.
        places: Its place there.
    """

    cosines: NDArray[np.float32]
    facts: Facts
    density: NDArray[np.float32]
    shelf: NDArray[np.intp]
    places: NDArray[np.intp]


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the highest scores, highest first, earlier ones first where they are equal."""
    found = _highest(scores, count)
    return found[np.argsort(-scores[found], kind="stable")][:count]


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the highest scores in their own order, and of all that are level with the lowest of those."""
    if count >= len(scores):
        return np.arange(len(scores))
    # Three times as fast as an argpartition.
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])


def _shelf_scores(
    shelf: Shelf, vector: NDArray[np.float32], coarse: NDArray[np.float32] | None, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    if shelf.coarse is None or coarse is None or len(shelf) <= FEW:
        scores = shelf.vectors @ vector
        scores[shelf.dropped] = DROPPED
        places = best(scores, count)
        return places, scores[places]
    rough = shelf.coarse @ coarse
    rough[shelf.dropped] = DROPPED
    shortlist = _highest(rough, SHORTLIST * count)
    scores = shelf.vectors[shortlist] @ vector
    if len(shelf.dropped):
        scores[rough[shortlist] == DROPPED] = DROPPED
    order = best(scores, count)
    return shortlist[order], scores[order]


def nearest(
    shelves: Sequence[Shelf], vector: NDArray[np.float32], projection: NDArray[np.float32] | None, count: int
) -> Neighbours | None:
    """The nearest rows of several shelves, or None where all are empty.

    Args:
        shelves: Where to look.
        vector: Shape ``(d,)``, of length 1.
        projection: Shape ``(d, c)``, under which the shelves' coarse vectors were made.
        count: How many are wanted.
    """
    coarse = None if projection is None else vector @ projection
    parts = [
        _found(number, shelf, *_shelf_scores(shelf, vector, coarse, count))
        for number, shelf in enumerate(shelves)
        if len(shelf.dropped) < len(shelf)
    ]
    if len(parts) < 2:
        return parts[0] if parts else None
    order = best(np.concatenate([part.cosines for part in parts]), count)
    return Neighbours(
        np.concatenate([part.cosines for part in parts])[order],
        stack_facts([part.facts for part in parts]).take(order),
        np.concatenate([part.density for part in parts])[order],
        np.concatenate([part.shelf for part in parts])[order],
        np.concatenate([part.places for part in parts])[order],
    )


def _found(number: int, shelf: Shelf, places: NDArray[np.intp], cosines: NDArray[np.float32]) -> Neighbours:
    """The rows of one shelf, without those that count for nothing."""
    if len(shelf.dropped) and cosines[-1] <= DROPPED:
        kept = cosines > DROPPED
        places, cosines = places[kept], cosines[kept]
    where = np.full(len(places), number)
    return Neighbours(cosines, shelf.facts.take(places), shelf.density[places], where, places)


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
