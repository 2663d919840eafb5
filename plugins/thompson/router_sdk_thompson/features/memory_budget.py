"""How much room posteriors take: the more agents there are, the fewer features each of them gets.

A covariance is ``d²`` numbers for each agent, so that room for many agents is made by giving up features: random ones
first, then columns of categories, which share what is left, and the last coordinates of an embedding. To leave a
feature out of a Gaussian is to leave out its row and column; what is known of the others stays. Of a text, features
that are neighbours become one.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from router_sdk.numerics.normal_gamma import capacity

MOST_BYTES = 152_000_000
"""What the covariances of one space of features may take, in double precision: those of 128 agents over an embedding of
384 do. Requests read two copies in single precision, which take as much again."""
MOST_TEXT_BYTES = 1 << 27
"""What weights and precisions of the features of texts may take: those of 250 agents over all features do. There are
three copies, one to learn in and two to read, and the agents' examples make another."""
_NUMBER = 8
_FEWEST = 8
"""Features that are kept however many agents there are."""


class Layout(NamedTuple):
    """Parts of a vector of features, beside the constant in front.

    Attributes:
        fourier: Random Fourier features.
        first: Coordinates of the embedding.
        columns: Columns of the feature dicts.
    """

    fourier: int
    first: int
    columns: int

    @property
    def width(self) -> int:
        """Number of features, the constant among them."""
        return 1 + self.fourier + self.first + self.columns


@lru_cache(1_024)
def widest(agents: int) -> int:
    """Most features that so many agents may have."""
    return max(isqrt(MOST_BYTES // (_NUMBER * capacity(agents))), _FEWEST)


def fitting(wanted: Layout, agents: int) -> Layout:
    """What of a layout is kept for so many agents; all of it, where there is room.

    Fewer Fourier features than a third of all are not worth a second posterior to compare them with.
    """
    most = widest(agents)
    if wanted.width <= most:
        return wanted
    fourier = min(wanted.fourier, most - 1 - wanted.first - wanted.columns)
    if fourier >= most // 3:
        return wanted._replace(fourier=fourier)
    first = min(wanted.first, max(3 * (most - 1) // 4, most - 1 - wanted.columns))
    return Layout(0, first, min(wanted.columns, most - 1 - first))


@lru_cache(1_024)
def halvings(agents: int, features: int) -> int:
    """How often so many features of texts are halved for so many agents."""
    found = 0
    while capacity(agents) * (features >> found) * _NUMBER > MOST_TEXT_BYTES and features >> found > _FEWEST:
        found += 1
    return found
