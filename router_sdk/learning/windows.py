"""Windows of what is decided and of what is asked, each compared with one reference window.

What lasts is the new normal: after ``LASTING`` windows in a row that differ, the newest becomes the reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.distribution_shift import (
    AXES,
    Moments,
    chi_square_limit,
    distance_limit,
    g_statistic,
    relative_entropy,
    squared_distance,
    trend,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LASTING = 5
"""Windows in a row that differ, until they are what is usual."""
POINTS = 8
"""Newest comparisons, of which a trend is told."""


class Comparisons:
    """What came of comparing windows with their reference.

    Attributes:
        values: How much the newest windows differed, oldest first.
        limit: What counts as different, of the newest; None before the first.
        differing: Windows in a row that differ.
        since: The log's time at the end of the first of these.
    """

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=POINTS)
        self.limit: float | None = None
        self.differing = 0
        self.since: float | None = None

    def add(self, value: float, limit: float, at: float, *, differs: bool) -> bool:
        """Note one; True where the window is to become the reference."""
        self.values.append(value)
        self.limit = limit
        self.since = (self.since if self.differing else at) if differs else None
        self.differing = self.differing + 1 if differs else 0
        if self.differing <= LASTING:
            return False
        self.values.clear()
        self.differing, self.since = 0, None
        return True

    def report(self) -> dict[str, Any]:
        """The figures as JSON values."""
        values = list(self.values)
        return {
            "differs": self.differing > 0,
            "value": values[-1] if values else None,
            "limit": self.limit,
            "since": self.since,
            "trend": trend(values),
        }

    def state(self) -> list[Any]:
        """What ``restore`` reads."""
        return [list(self.values), self.limit, self.differing, self.since]

    def restore(self, state: list[Any]) -> None:
        """Read back what ``state`` gave."""
        values, self.limit, self.differing, self.since = state
        self.values.extend(values)


class Choices:
    """Whom the router's favourites are, as counts.

    Attributes:
        reference: A full window, or None.
        newest: The window that fills.
        seen: Choices in it.
        comparisons: What came of it.
    """

    def __init__(self) -> None:
        self.reference: dict[str, int] | None = None
        self.newest: dict[str, int] = {}
        self.seen = 0
        self.comparisons = Comparisons()

    def compare(self, at: float, least: float, chance: float) -> None:
        """Compare the window with the reference, and begin the next one.

        Args:
            at: The log's time.
            least: Relative entropy, in nats, below which it is no matter.
            chance: Of calling that a difference which is none.
        """
        if self.reference is None:
            self.reference = self.newest
        else:
            value = relative_entropy(self.newest, self.reference)
            statistic, freedom = g_statistic(self.newest, self.reference)
            differs = value >= least and freedom > 0 and statistic > chi_square_limit(freedom, chance)
            if self.comparisons.add(value, least, at, differs=differs):
                self.reference = self.newest
        self.newest, self.seen = {}, 0

    def state(self) -> list[Any]:
        """What ``restored`` reads."""
        return [self.reference, self.newest, self.comparisons.state()]

    @classmethod
    def restored(cls, state: list[Any]) -> Choices:
        """Read back what ``state`` gave."""
        choices = cls()
        reference, newest, comparisons = state
        choices.reference = reference
        choices.newest = newest
        choices.seen = sum(newest.values())
        choices.comparisons.restore(comparisons)
        return choices


class Inputs:
    """Where tasks lie, as moments.

    Attributes:
        reference: A full window, or None.
        newest: The window that fills.
        comparisons: What came of it, in standard deviations of a task.
    """

    def __init__(self) -> None:
        self.reference: Moments | None = None
        self.newest = Moments()
        self.comparisons = Comparisons()

    def compare(self, at: float, chance: float) -> None:
        """Compare the window with the reference, and begin the next one, see ``Choices.compare``."""
        if self.reference is None:
            self.reference = self.newest
        else:
            value = squared_distance(self.newest, self.reference)
            limit = distance_limit(self.newest.count, self.reference.count, chance)
            if self.comparisons.add(sqrt(value), sqrt(limit), at, differs=value > limit):
                self.reference = self.newest
        self.newest = Moments()

    def state(self) -> tuple[list[Any], NDArray[np.float64]]:
        """What ``restored`` reads: JSON values, and an array of shape ``(2, AXES + 1, AXES)``."""
        sums = np.zeros((2, AXES + 1, AXES))
        for rows, moments in zip(sums, (self.reference, self.newest), strict=True):
            if moments is not None:
                rows[0], rows[1:] = moments.total, moments.products
        counts = [None if self.reference is None else self.reference.count, self.newest.count]
        return [counts, self.comparisons.state()], sums

    @classmethod
    def restored(cls, state: list[Any], sums: NDArray[np.float64]) -> Inputs:
        """Read back what ``state`` gave."""
        inputs = cls()
        counts, comparisons = state
        found = []
        for rows, count in zip(sums, counts, strict=True):
            moments = Moments()
            moments.count, moments.total, moments.products = count or 0, rows[0].copy(), rows[1:].copy()
            found.append(moments)
        inputs.reference, inputs.newest = None if counts[0] is None else found[0], found[1]
        inputs.comparisons.restore(comparisons)
        return inputs


def changed(reports: Mapping[str, Mapping[str, Any]], flag: str) -> bool:
    """Whether any report raises a flag."""
    return any(report[flag] for report in reports.values())
