"""How a task becomes a vector: ``[1, Fourier features, columns]``, the columns about as long as 1.

An embedding is brought to length 1, because its direction alone tells. Features are divided by a length between theirs
and the one that is expected of so many: how far a standardised number is from its mean tells as well, so that one alone
is more than its sign, and yet nothing lies far outside of where the Fourier features were tuned.
With random Fourier features, a linear posterior over them approximates a Gaussian process (Rahimi and Recht, 2007).
"""

from __future__ import annotations

from copy import copy
from itertools import takewhile
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE
from router_sdk_thompson.features.memory_budget import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import FeatureValue, Task
    from router_sdk_thompson.features.columns import Columns

TYPE_COLUMN = "task_type"
CONSTANT = np.ones(1)


class Design(NamedTuple):
    """The parts of a task's vector that are not given: columns of its features, and Fourier features of them."""

    columns: Columns
    fourier: FourierFeatures | None

    @property
    def layout(self) -> Layout:
        """What the features are."""
        fourier, first = 0 if self.fourier is None else self.fourier.count, self.columns.first
        return Layout(fourier, first, self.columns.count - first)

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 + (0 if self.fourier is None else self.fourier.count) + self.columns.count

    def encode(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue]) -> NDArray[np.float64]:
        """Features of one task, shape ``(width,)``."""
        columns = self.columns
        if vector is not None and self.fourier is None and len(vector) == columns.first == columns.count:
            x = np.empty(len(vector) + 1)
            x[0] = 1.0
            np.divide(vector, _length(vector), x[1:])
            return x
        return np.concatenate(self._parts(vector, features))

    def encode_texts(
        self, vectors: Sequence[NDArray[Any]] | NDArray[Any], task_types: Sequence[str]
    ) -> NDArray[np.float64] | None:
        """``encode``, to the same bits, of tasks with an embedding and a type, shape ``(n, width)``.

        Those up to the first type that is not known, or the first embedding of another precision; None where there
        are Fourier features, or embeddings of another width.
        """
        columns, first = self.columns, self.columns.first
        if self.fourier is not None or len(vectors[0]) != columns.given:
            return None
        stacked = vectors if isinstance(vectors, np.ndarray) else _alike(vectors)
        places: dict[str, int] = {}
        task_types = task_types[: len(stacked)]
        for known, kind in enumerate(task_types):
            if kind != DEFAULT_TASK_TYPE and kind not in places:
                place = columns.place(TYPE_COLUMN, kind)
                if place is None:
                    stacked, task_types = stacked[:known], task_types[:known]
                    break
                places[kind] = place
        if columns.count == first == columns.given:
            precision = stacked.dtype if stacked.dtype.kind == "f" else np.dtype(float)  # as one by one
            lengths = np.array([_length(vector) for vector in stacked], precision)
            xs = np.empty((len(stacked), first + 1))
            xs[:, 0] = 1.0
            np.divide(stacked, lengths[:, None], xs[:, 1:])
            return xs
        xs = np.zeros((len(stacked), columns.count + 1))
        raw = xs[:, 1:]
        raw[:, :first] = stacked[:, :first]
        squares = np.array([x.dot(x) for x in raw[:, :first]])
        ones = [(place, places[kind]) for place, kind in enumerate(task_types) if kind in places]
        if ones:
            rows, held = map(list, zip(*ones, strict=True))
            raw[rows, held] = 1.0
            squares[rows] += 1.0  # half of the type's square, and of what is expected of one feature
        squares[squares == 0.0] = 1.0
        raw /= np.sqrt(squares)[:, None]
        xs[:, 0] = 1.0
        return xs

    def encode_into(
        self, x: NDArray[np.float32], vector: NDArray[Any] | None, features: Mapping[str, FeatureValue]
    ) -> float:
        """The same in single precision, up to a factor: it costs less to multiply what comes of it.

        Args:
            x: Where to write them, shape ``(width,)``.
            vector: The embedding, or None.
            features: The others.

        Returns:
            What ``x`` is to be multiplied by.
        """
        columns = self.columns
        if vector is not None and self.fourier is None and len(vector) == columns.first == columns.count:
            x[0] = length = _length(vector)
            x[1:] = vector
            return 1.0 / length
        np.concatenate(self._parts(vector, features), out=x)
        return 1.0

    def frozen(self) -> Design:
        """A copy for requests, which later fitting and growth leave alone."""
        return Design(self.columns.frozen(), None if self.fourier is None else self.fourier.frozen())

    def _parts(self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue]) -> tuple[Any, ...]:
        columns, fourier = self.columns, self.fourier
        first, raw = columns.first, columns.encode(features)
        if vector is not None and len(vector) == columns.given:
            raw[:first] = vector[:first]
        squares = float(raw[:first] @ raw[:first]) + (float(raw[first:] @ raw[first:]) + len(features)) / 2.0
        if squares > 0.0:
            raw /= sqrt(squares)
        if fourier is None:
            return CONSTANT, raw
        return CONSTANT, fourier.features(raw if columns.numbers is None else raw * columns.numbers), raw


def _length(vector: NDArray[Any]) -> float:
    """Length of an embedding; 1 of one that is nought everywhere. Squares of small whole numbers may not fit in."""
    if vector.dtype.kind != "f":
        vector = vector.astype(float)
    return sqrt(vector.dot(vector)) or 1.0


def _alike(vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The first few that are of one width and precision, as one array."""
    kind = vectors[0].shape, vectors[0].dtype
    return np.array(list(takewhile(lambda vector: (vector.shape, vector.dtype) == kind, vectors)))


def described(task: Task) -> Mapping[str, FeatureValue]:
    """The task's features, its type among them where it has one."""
    told = typed(task.task_type)
    return {**task.features, **told} if told else task.features


def typed(task_type: str) -> Mapping[str, FeatureValue]:
    """What a task's type is among its features; nothing where it has none."""
    return {} if task_type == DEFAULT_TASK_TYPE else {TYPE_COLUMN: task_type}


class FourierFeatures:
    """Cosines of seeded random projections of a vector that is about as long as 1.

    Every column has a stream of its own, so a column that turns up later leaves the others as they are.

    Args:
        count: How many features.
        bandwidth: Standard deviation of the frequencies; larger bends faster.
        weight: Norm of the features' vector.
        seed: Seed of frequencies and phases.

    Attributes:
        count: How many features.
        drawn: How many there were at first.
    """

    def __init__(self, count: int, bandwidth: float, weight: float, seed: int) -> None:
        self.count, self.drawn, self._bandwidth, self._seed = count, count, bandwidth, seed
        self._amplitude = weight * float(np.sqrt(2.0 / max(count, 1)))
        self._phases = np.random.default_rng([seed, 0]).uniform(0.0, 2.0 * np.pi, count)
        self._frequencies = np.empty((count, 0))

    def grow(self, columns: int) -> None:
        """Draw the frequencies of columns up to that number."""
        known = self._frequencies.shape[1]
        if columns > known:
            fresh = [
                np.random.default_rng([self._seed, 1 + column]).normal(0.0, self._bandwidth, self.count)
                for column in range(known, columns)
            ]
            self._frequencies = np.column_stack([self._frequencies, *fresh])

    def keep(self, count: int) -> None:
        """Leave out all but the first so many; each of those counts for what it did."""
        self.count = count
        self._phases, self._frequencies = self._phases[:count].copy(), self._frequencies[:count].copy()

    def frozen(self) -> FourierFeatures:
        """A copy for requests, which later growth leaves alone."""
        return copy(self)  # `grow` and `keep` replace the arrays and never write to them.

    def features(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features of one vector of at most as many columns as were grown, shape ``(count,)``."""
        angles = self._frequencies[:, : len(vector)] @ vector
        angles += self._phases
        np.cos(angles, out=angles)
        angles *= self._amplitude
        return angles
