"""Which stored row to give up: one of whoever has most, so that the rest still has the mean of all that was seen.

Greedy removal in the manner of herding (Welling, 2009), as iCaRL keeps its exemplars (Rebuffi et al., 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(slots=True)
class Group:
    """The rows about one agent.

    Attributes:
        places: Where they are, in order of arrival.
        held: Sum of their vectors, shape ``(d,)``.
        seen: Sum of all vectors that were ever added.
        count: How many those were.
    """

    places: dict[int, None] = field(default_factory=dict)
    held: NDArray[np.float64] | None = None
    seen: NDArray[np.float64] | None = None
    count: int = 0


class Groups:
    """The rows of every agent, by its code."""

    def __init__(self) -> None:
        self.by_code: dict[int, Group] = {}

    def add(self, code: int, place: int, vector: NDArray[np.float32]) -> None:
        """Note a new row."""
        group = self.by_code.setdefault(code, Group())
        if group.held is None or group.seen is None:
            group.held, group.seen = np.zeros(len(vector)), np.zeros(len(vector))
        group.places[place] = None
        group.held += vector
        group.seen += vector
        group.count += 1

    def remove(self, code: int, place: int, vector: NDArray[np.float32]) -> None:
        """Note that a row is gone."""
        group = self.by_code[code]
        del group.places[place]
        if group.held is not None:
            group.held -= vector

    def move(self, place_of: Mapping[int, int]) -> None:
        """Note that rows are in new places."""
        for group in self.by_code.values():
            group.places = {place_of[place]: None for place in group.places}

    def restart(self, code: int) -> None:
        """Let the mean that is kept be that of the rows held now: the agent is no longer what it was."""
        group = self.by_code.get(code)
        if group is not None and group.held is not None:
            group.seen, group.count = group.held.copy(), len(group.places)

    def forget(self, code: int) -> None:
        """Drop a group."""
        self.by_code.pop(code, None)

    def dispensable(self, vectors: NDArray[np.float32], names: Sequence[str]) -> int:
        """The place of the row in the largest group without which its mean stays closest to that of all it saw."""
        code = max(self.by_code, key=lambda code: (len(self.by_code[code].places), names[code - 1] if code > 0 else ""))
        group = self.by_code[code]
        assert group.held is not None
        assert group.seen is not None
        places = np.fromiter(group.places, dtype=np.intp)
        surplus = group.held - (len(places) - 1) * group.seen / group.count
        return int(places[np.argmax(vectors[places] @ surplus.astype(np.float32))])
