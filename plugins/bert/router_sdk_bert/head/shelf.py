"""Blocks of stored vectors with what is known of each; immutable once requests read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Facts(NamedTuple):
    """What is known of some rows; arrays of one shape.

    Attributes:
        right: Code of who was right, that of nobody, or -1.
        credit: How right, in [0, 1].
        wrong: Code of who failed, or -1.
        blame: How badly, in [0, 1].
        rivalry: What a success says of the other agents, from 0, nothing, to 1, that they would have failed.
        weight: What the row counts for; 0 where it was dropped.
    """

    right: NDArray[np.int32]
    credit: NDArray[np.float32]
    wrong: NDArray[np.int32]
    blame: NDArray[np.float32]
    rivalry: NDArray[np.float32]
    weight: NDArray[np.float32]

    def take(self, places: Any) -> Facts:
        """The facts of chosen rows, in the shape of ``places``."""
        return Facts(*(column[places] for column in self))


def stack_facts(parts: Sequence[Facts]) -> Facts:
    """The facts of several blocks of rows, one after the other."""
    return Facts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass(slots=True, frozen=True, eq=False)
class Shelf:
    """Vectors that can be searched.

    Attributes:
        vectors: Shape ``(n, d)``, float32, each of length 1.
        coarse: What ``coarse_of`` makes of them, shape ``(n, c + 1)``, or None where there are few.
        density: Mean distance of each row to its own surroundings, shape ``(n,)``.
        facts: What is known of each.
        dropped: Places of the rows that count for nothing.
    """

    vectors: NDArray[np.float32]
    coarse: NDArray[np.float32] | None
    density: NDArray[np.float32]
    facts: Facts
    dropped: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", np.flatnonzero(self.facts.weight <= 0.0))

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(slots=True, frozen=True, eq=False)
class Shelves:
    """Blocks that are searched together; their rows are counted through.

    Attributes:
        blocks: The blocks, in order.
        facts: What is known of all their rows.
        density: Mean distance of each to its own surroundings.
    """

    blocks: tuple[Shelf, ...]
    facts: Facts = field(init=False)
    density: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", stack_facts([block.facts for block in self.blocks]))
        object.__setattr__(self, "density", np.concatenate([block.density for block in self.blocks]))
