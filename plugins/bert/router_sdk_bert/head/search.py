"""The nearest stored vectors: coarse by a projection, exact among the best of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk_bert.head.shelf import stack_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts, Shelf

COARSE = 64
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
        places: Shelf and place of each, shape ``(k, 2)``.
    """

    cosines: NDArray[np.float32]
    facts: Facts
    density: NDArray[np.float32]
    places: NDArray[np.intp]


def best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the highest scores, highest first, earlier ones first where they are equal."""
    if count < len(scores):
        found = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
        found.sort()
    else:
        found = np.arange(len(scores))
    return found[np.argsort(-scores[found], kind="stable")]


def _shelf_scores(
    shelf: Shelf, vector: NDArray[np.float32], coarse: NDArray[np.float32] | None, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    if shelf.coarse is None or coarse is None or len(shelf) <= FEW:
        scores = shelf.vectors @ vector
        scores[shelf.facts.weight <= 0.0] = DROPPED
        places = best(scores, count)
        return places, scores[places]
    rough = shelf.coarse @ coarse
    rough[shelf.facts.weight <= 0.0] = DROPPED
    kept = min(SHORTLIST * count, len(rough))
    shortlist = np.argpartition(rough, len(rough) - kept)[len(rough) - kept :]
    shortlist.sort()
    scores = shelf.vectors[shortlist] @ vector
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
    parts = []
    for number, shelf in enumerate(shelves):
        if len(shelf):
            places, scores = _shelf_scores(shelf, vector, coarse, count)
            kept = scores > DROPPED
            if kept.any():
                parts.append((number, shelf, places[kept], scores[kept]))
    if not parts:
        return None
    cosines = np.concatenate([scores for *_, scores in parts])
    order = best(cosines, count)
    facts = stack_facts([shelf.facts.take(places) for _, shelf, places, _ in parts]).take(order)
    density = np.concatenate([shelf.density[places] for _, shelf, places, _ in parts])[order]
    where = np.concatenate([np.column_stack((np.full(len(p), number), p)) for number, _, p, _ in parts])[order]
    return Neighbours(cosines[order], facts, density, where)


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
