"""Turns feature dicts into vectors; the columns are found, and numbers scaled, while the log is read.

A category gets a column of its own when it first turns up, a number is standardised by the first values seen of it
and by those alone, so that an old task is encoded tomorrow as it is today. What was never learnt encodes as nothing.
Names and categories are kept as digests, for they may hold what somebody asks to have erased.
"""

from __future__ import annotations

from hashlib import blake2b
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from router_sdk.plugin import normal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from router_sdk.plugin import FeatureValue

FIRST_VALUES = 64
"""Values of a number that settle its scale."""
MOST_COLUMNS = 512
"""Beyond these, new categories share columns."""
MOST_PLACES = 8_192
"""Names and categories that are known by themselves: a category beyond these shares a column, and a number has none."""
MOST_REMEMBERED = 10_000
"""Names and categories whose digest is not computed again."""
NUMBER, CATEGORY = "n", "c"
"""What a digest begins with."""
FURTHEST = 3.0
"""Standard deviations beyond which a number is cut off."""


_SHAPES = 64
"""Different lists of names whose numbers are encoded as one array."""


class _Numbers(NamedTuple):
    """How a task whose features are numbers, under these names in this order, is encoded: each array of shape ``(n,)``.

    Attributes:
        places: Columns, all different.
        means: What is taken away.
        deviations: What is divided by.
        furthest: What the result is cut off at.
        settled: Whether nothing more is learnt of any of them.
    """

    places: NDArray[np.intp]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    furthest: NDArray[np.float64]
    settled: bool


class Columns:
    """An encoder for feature dicts, fitted online.

    Args:
        first: Columns in front that others fill, such as an embedding.

    Attributes:
        first: How many of those are kept.
        given: How many there were at first.
        most: Columns beyond which new names and categories share those there are.
        count: Columns known so far.
        numbers: 1 for a column that holds numbers and 0 for a category's, shape ``(count,)``; None where all do.
    """

    def __init__(self, first: int = 0) -> None:
        self.first = self.given = self.count = first
        self.most = MOST_COLUMNS
        self._places: dict[str, int] = {}
        self._scales: dict[str, list[float]] = {}
        self._digests: dict[str, str] = {}
        self._shapes: dict[tuple[str, ...], _Numbers | None] = {}
        self._seen = 0
        self.numbers: NDArray[np.float64] | None = None

    def frozen(self) -> Columns:
        """A copy for requests, which later fitting leaves alone."""
        twin = Columns(self.first)
        twin.count, twin._places, twin._digests = self.count, dict(self._places), self._digests
        twin.given, twin.most = self.given, self.most
        twin._scales = {name: list(scale) for name, scale in self._scales.items()}
        twin.numbers = self.numbers
        return twin

    def keep(self, first: int, most: int) -> None:
        """Leave out all but so many columns in front and so many others: a later one then shares an earlier one."""
        self.first = first
        if most < min(len(self._places), self.most):
            self.most = most
            places = self._places.items()
            self._places = {digest: place if place < most else self._shared(digest) for digest, place in places}
        self._sort()

    def _shared(self, digest: str) -> int:
        return crc32(digest.encode()) % self.most

    def fit(self, features: Mapping[str, FeatureValue]) -> bool:
        """Note columns and scales, while learning only; True where something was new."""
        shape = self._shape(features)
        if shape is not None and shape.settled:
            return False
        before = len(self._places), self._seen
        for name, value in features.items():
            digest = self._digest(name, value)
            if not self._place(digest) or isinstance(value, (str, bool)):
                continue
            scale = self._scales.setdefault(digest, [0.0, 0.0, 0.0])
            if scale[0] < FIRST_VALUES:
                # Welford's running mean and sum of squares.
                scale[0] += 1.0
                self._seen += 1
                gap = float(value) - scale[1]
                scale[1] += gap / scale[0]
                scale[2] += gap * (float(value) - scale[1])
        if len(self._places) > before[0]:
            self._sort()
        if before == (len(self._places), self._seen):
            return False
        self._shapes.clear()
        return True

    def _sort(self) -> None:
        self._shapes.clear()
        self.count = self.first + min(len(self._places), self.most)
        numbers = np.ones(self.count)
        for digest, place in self._places.items():
            if digest[0] == CATEGORY:
                numbers[self.first + place] = 0.0
        self.numbers = None if numbers.all() else numbers

    def _digest(self, name: str, value: FeatureValue) -> str:
        """What stands for a number's name, or for a category, and is remembered in this process alone."""
        key = normal(f"{name}={value}" if isinstance(value, str) else name)
        kind = CATEGORY if isinstance(value, str) else NUMBER
        digest = self._digests.get(kind + key)
        if digest is None:
            digest = kind + blake2b(key.encode(), digest_size=12).hexdigest()
            if len(self._digests) < MOST_REMEMBERED:
                self._digests[kind + key] = digest
        return digest

    def _place(self, digest: str) -> bool:
        """Give a name or category a column; whether it has one of its own, or is known to share one."""
        taken = len(self._places)
        if digest not in self._places:
            if taken >= MOST_PLACES:
                return False
            self._places[digest] = taken if taken < self.most else self._shared(digest)
        return True

    def encode(self, features: Mapping[str, FeatureValue]) -> NDArray[np.float64]:
        """The vector of one dict, shape ``(count,)``; the columns in front are left at 0."""
        vector, first = np.zeros(self.count), self.first
        shape = self._shape(features)
        if shape is not None:
            values = np.fromiter(features.values(), np.float64, len(features))
            scaled = (values - shape.means) / shape.deviations
            vector[shape.places] = np.minimum(np.maximum(scaled, -shape.furthest), shape.furthest)
            return vector
        size = len(vector)
        for name, value in features.items():
            digest = self._digest(name, value)
            place = self._places.get(digest)
            if place is None and isinstance(value, str) and len(self._places) >= MOST_PLACES:
                place = self._shared(digest)
            if place is None or first + place >= size:
                continue
            vector[first + place] += 1.0 if isinstance(value, str) else self._number(digest, value)
        return vector

    def place(self, name: str, value: str) -> int | None:
        """Column of a category; None for one that has none yet."""
        place = self._places.get(self._digest(name, value))
        return None if place is None else self.first + place

    def _shape(self, features: Mapping[str, FeatureValue]) -> _Numbers | None:
        """How these are encoded together; None where one is no ``float``, or not in a column of its own."""
        if set(map(type, features.values())) != {float}:
            return None
        names = tuple(features)
        try:
            return self._shapes[names]
        except KeyError:
            found = self._numbers(names)
            if len(self._shapes) < _SHAPES:
                self._shapes[names] = found
            return found

    def _numbers(self, names: tuple[str, ...]) -> _Numbers | None:
        digests = [self._digest(name, 0.0) for name in names]
        places = [self.first + self._places.get(digest, self.count) for digest in digests]
        if max(places) >= self.count or len(set(places)) < len(places):
            return None
        scales = [self._scales.get(digest) for digest in digests]
        return _Numbers(
            np.array(places, dtype=np.intp),
            np.array([0.0 if scale is None else scale[1] for scale in scales]),
            np.array([1.0 if scale is None else _deviation(scale) for scale in scales]),
            np.array([np.inf if scale is None else FURTHEST for scale in scales]),
            all(scale is not None and scale[0] >= FIRST_VALUES for scale in scales),
        )

    def _number(self, digest: str, value: float) -> float:
        scale = self._scales.get(digest)
        if isinstance(value, bool) or scale is None:
            return float(value)
        return min(max((float(value) - scale[1]) / _deviation(scale), -FURTHEST), FURTHEST)

    def state(self) -> dict[str, Any]:
        """What ``restore`` reads."""
        kept = {"first": self.first, "given": self.given, "most": self.most}
        return {**kept, "places": self._places, "scales": self._scales}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave.

        Raises:
            ValueError: if a scale is not finite.
        """
        scales = {str(name): [float(number) for number in scale] for name, scale in state["scales"].items()}
        if not all(isfinite(number) for scale in scales.values() for number in scale):
            raise ValueError("scales of the features are not finite")
        self.first = int(state["first"])
        self.given, self.most = int(state.get("given", self.first)), int(state.get("most", MOST_COLUMNS))
        self._places = {str(key): int(place) for key, place in state["places"].items()}
        self._scales = scales
        self._sort()


def _deviation(scale: list[float]) -> float:
    """The standard deviation of the first values; 1 where they are all alike."""
    return sqrt(scale[2] / scale[0]) if scale[2] > 0.0 else 1.0
