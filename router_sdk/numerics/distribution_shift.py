"""Whether two windows come from one distribution, of choices or of vectors, and where a series of figures tends.

Each statistic is about chi-square distributed where nothing changed, so that its limit needs no simulation. The limit
is an upper bound of the quantile (Laurent and Massart, 2000), and windows are compared again and again, so the n-th
comparison spends ``alpha / (n (n + 1))`` of a chance whose sum is ``alpha``: where nothing ever changes, the chance
that any comparison says otherwise is at most ``alpha``, however many there are (Bonferroni over an infinite series).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import log, sqrt
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = 16
"""Random directions on which vectors and texts are compared."""
LEAST_EXPECTED = 5.0
"""Categories that are expected less often than this count as one (Cochran, 1954)."""
MOST_WORDS = 512
"""Words of a text that are looked at."""

_GOLDEN = np.uint32(2_654_435_761)
_BITS = np.arange(16, 16 + AXES, dtype=np.uint32)
_RIDGE = 1e-3
"""Share of the mean variance that is added to each, so that what never varied is no division by zero."""
_TREND = 1.96
"""Standard deviations beyond which a series has a trend."""


def relative_entropy(newest: Mapping[str, int], reference: Mapping[str, int]) -> float:
    """Kullback-Leibler divergence of the newest counts' distribution from the reference's, in nats, at least 0.

    Both are smoothed by half a count for each category that is in either (Krichevsky and Trofimov, 1981).
    """
    categories = newest.keys() | reference.keys()
    here, there = sum(newest.values()) + len(categories) / 2.0, sum(reference.values()) + len(categories) / 2.0
    total = 0.0
    for name in sorted(categories):
        share = (newest.get(name, 0) + 0.5) / here
        total += share * log(share * there / (reference.get(name, 0) + 0.5))
    return max(total, 0.0)


def g_statistic(newest: Mapping[str, int], reference: Mapping[str, int]) -> tuple[float, int]:
    """The likelihood ratio statistic of two rows of counts against one distribution for both (Woolf, 1957).

    Returns:
        G, and its degrees of freedom: one less than there are categories, rare ones taken together.
    """
    rows = sum(newest.values()), sum(reference.values())
    whole = sum(rows)
    table, rare = [], [0, 0]
    for name in newest.keys() | reference.keys():
        cells = newest.get(name, 0), reference.get(name, 0)
        if sum(cells) * min(rows) < LEAST_EXPECTED * whole:
            rare = [rare[0] + cells[0], rare[1] + cells[1]]
        else:
            table.append(cells)
    if any(rare):
        table.append((rare[0], rare[1]))
    terms = [
        count * log(count * whole / (sum(cells) * row))
        for cells in table
        for count, row in zip(cells, rows, strict=True)
        if count
    ]
    return max(2.0 * sum(sorted(terms)), 0.0), max(len(table) - 1, 0)


def chi_square_limit(freedom: int, chance: float) -> float:
    """What a chi-square variable exceeds with at most this chance (Laurent and Massart, 2000, lemma 1)."""
    surprise = -log(chance)
    return freedom + 2.0 * sqrt(freedom * surprise) + 2.0 * surprise


def spent(alpha: float, comparison: int) -> float:
    """What the n-th comparison may spend, counted from 1, of the chance that any raises a false alarm."""
    return alpha / (comparison * (comparison + 1.0))


class Moments:
    """Count, sum and products of points on ``AXES`` axes.

    Attributes:
        count: Points.
        total: Their sum, shape ``(AXES,)``.
        products: Sum of their outer products, shape ``(AXES, AXES)``.
    """

    __slots__ = ("count", "products", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = np.zeros(AXES)
        self.products = np.zeros((AXES, AXES))

    def add(self, point: NDArray[np.float64]) -> None:
        """Count one point, shape ``(AXES,)``."""
        self.count += 1
        self.total += point
        self.products += point[:, None] * point


def squared_distance(newest: Moments, reference: Moments) -> float:
    """How far apart the means are, squared, in standard deviations of a point (Mahalanobis, 1936), at least 0."""
    first, second = newest.total / newest.count, reference.total / reference.count
    scatter = newest.products + reference.products
    scatter = scatter - newest.count * first[:, None] * first - reference.count * second[:, None] * second
    within = scatter / max(newest.count + reference.count - 2, 1)
    within[np.diag_indices(AXES)] += _RIDGE * float(np.trace(within)) / AXES + 1e-12
    apart = first - second
    return max(float(apart @ np.linalg.solve(within, apart)), 0.0)


def distance_limit(newest: int, reference: int, chance: float) -> float:
    """What ``squared_distance`` of two such counts exceeds with about this chance where both have one mean.

    By Hotelling's T-squared (1931), on random directions (Lopes, Jacob and Wainwright, NeurIPS 2011).
    """
    whole = newest + reference
    stretch = (whole - 2.0) / max(whole - AXES - 1.0, 1.0)
    return chi_square_limit(AXES, chance) * stretch * (1.0 / newest + 1.0 / reference)


def point_of_words(words: Sequence[str]) -> NDArray[np.float64]:
    """Where a text lies: its bag of words on random directions of signs, by hashing (Weinberger et al., ICML 2009).

    Returns:
        Shape ``(AXES,)``; nothing but 0 where there are no words.
    """
    hashes = np.array([crc32(word.encode()) for word in words[:MOST_WORDS]], dtype=np.uint32) * _GOLDEN
    signs = ((hashes[:, None] >> _BITS) & 1).sum(axis=0, dtype=np.float64) * 2.0 - len(hashes)
    point: NDArray[np.float64] = signs / sqrt(max(len(hashes), 1))
    return point


def point_of_vector(vector: NDArray[np.generic]) -> NDArray[np.float64]:
    """Where a vector of shape ``(n,)`` points to on random directions of signs, whatever its length (Achlioptas, 2003).

    Returns:
        Shape ``(AXES,)``; nothing but 0 where the vector is.
    """
    scaled = vector.astype(np.float64)
    scaled /= float(np.abs(scaled).max()) or 1.0  # so that no square overflows
    point: NDArray[np.float64] = _directions(len(vector)) @ scaled / (float(np.linalg.norm(scaled)) or 1.0)
    return point


@cache
def _directions(width: int) -> NDArray[np.float64]:
    directions: NDArray[np.float64] = np.random.default_rng(width).choice((-1.0, 1.0), (AXES, width))
    return directions


def trend(values: Sequence[float]) -> Literal["up", "flat", "down"]:
    """Where a series tends, by the signs of its differences (Mann, 1945; Kendall, 1975), at about one in twenty.

    A series of fewer than four is flat.
    """
    count = len(values)
    if count < 4:
        return "flat"
    signs = sum(
        (later > earlier) - (later < earlier) for place, earlier in enumerate(values) for later in values[place + 1 :]
    )
    surprise = (abs(signs) - 1) / sqrt(count * (count - 1) * (2 * count + 5) / 18.0)
    if surprise <= _TREND:
        return "flat"
    return "up" if signs > 0 else "down"
