"""Publishes large arrays without copying them whole: two copies, of which one is read while the other catches up.

A request never sees half an update, and it never waits: it reads the newest finished copy. That copy is written
again only two publications later, which a request that was so slow notices by ``intact`` and asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray


class Mirror(Protocol):
    """Something that can be brought up to date with its source."""

    def catch_up(self, source: Self, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Copy the touched rows, or only the places listed for a row."""


M = TypeVar("M", bound=Mirror)


class TwoCopies(Generic[M]):
    """Two mirrors of one source.

    Args:
        make: Makes an empty mirror.

    Attributes:
        generation: Number of the newest publication.
        changed: Whether anything was touched since.
    """

    def __init__(self, make: Callable[[], M]) -> None:
        self._mirrors = (make(), make())
        self._touched: tuple[dict[int, list[NDArray[np.intp]]], dict[int, list[NDArray[np.intp]]]] = ({}, {})
        self.generation = 0
        self.changed = True
        self._writing = 0

    def touch(self, row: int, places: NDArray[np.intp] | None) -> None:
        """Note that a row changed, at these places only or, with None, anywhere."""
        self.changed = True
        for touched in self._touched:
            if places is None:
                touched[row] = []
            elif row not in touched:
                touched[row] = [places]
            elif touched[row]:
                touched[row].append(places)

    def touch_all(self, rows: Iterable[int]) -> None:
        """Note that these rows changed anywhere."""
        for row in rows:
            self.touch(row, None)

    def publish(self, source: M) -> M:
        """Bring the older mirror up to date; it is the one to read from now on."""
        following = self.generation + 1
        self._writing = following
        mirror, touched = self._mirrors[following & 1], self._touched[following & 1]
        mirror.catch_up(source, touched)
        touched.clear()
        self.changed = False
        self.generation = following
        return mirror

    def intact(self, generation: int) -> bool:
        """Whether the mirror of that generation has not been written again."""
        return self._writing <= generation + 1
