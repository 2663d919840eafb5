"""How a task becomes a vector: ``[1, Fourier features, vector of length 1]``."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE
from router_sdk_thompson.features.memory_budget import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike, NDArray

    from router_sdk.plugin import FeatureValue, Task
    from router_sdk_thompson.features.columns import Columns
    from router_sdk_thompson.features.random_fourier import FourierFeatures

TYPE_COLUMN = "task_type"


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

    def encode(
        self, vector: NDArray[Any] | None, features: Mapping[str, FeatureValue], dtype: DTypeLike = np.float64
    ) -> NDArray[Any]:
        """Features of one task, shape ``(width,)``."""
        columns, fourier = self.columns, self.fourier
        first = columns.first
        if fourier is None and vector is not None and len(vector) == first == columns.count:
            x = np.empty(first + 1, dtype)
            x[0] = 1.0
            np.divide(vector, sqrt(vector.dot(vector)) or 1.0, x[1:])
            return x
        raw = columns.encode(features)
        if vector is not None and len(vector) == columns.given:
            raw[:first] = vector[:first]
        length = float(raw @ raw)
        if length > 0.0:
            raw /= sqrt(length)
        if fourier is None:
            return np.concatenate(([1.0], raw), dtype=dtype)
        numbers = raw if columns.numbers is None else raw * columns.numbers
        return np.concatenate(([1.0], fourier.features(numbers), raw), dtype=dtype)


def described(task: Task) -> Mapping[str, FeatureValue]:
    """The task's features, its type among them where it has one."""
    if task.task_type == DEFAULT_TASK_TYPE:
        return task.features
    return {**task.features, TYPE_COLUMN: task.task_type}
