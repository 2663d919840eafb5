"""What agents say of themselves, as rows to start from: each example, each capability, the description."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.state_file import array_of
from router_sdk.plugin import normal
from router_sdk_bert.head.rows import UNKNOWN, Facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import Agent
    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.rows import Names

OWN_RIVALRY = 0.3
"""What an agent's example says of the others where several can succeed: only that they did not name it."""
KEPT = 2.0
"""What the prototypes of an agent that has changed count for together, in outcomes."""


class Prototype(NamedTuple):
    """One text that an agent states as its own, and what it counts for."""

    text: str
    weight: float


def prototypes_of(agent: Agent, config: HeadConfig) -> tuple[Prototype, ...]:
    """The texts of one agent, each once."""
    said = {normal(text): config.example_weight for text in agent.examples if text.strip()}
    for text in (agent.description, *sorted(agent.capabilities)):
        if text.strip():
            said.setdefault(normal(text), config.description_weight)
    return tuple(Prototype(text, weight) for text, weight in said.items() if weight > 0.0)


class Prototypes(NamedTuple):
    """The prototypes of some agents, as arrays.

    Attributes:
        texts: What each says.
        names: Whose it is.
        vectors: Shape ``(p, d)``.
        weight: What each counts for, shape ``(p,)``.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]
    vectors: NDArray[np.float32]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, told: Mapping[str, Sequence[Prototype]], vector_of: Mapping[str, NDArray[np.float32]]) -> Prototypes:
        """Arrays of the prototypes of each agent, in the order of the agents' names."""
        listed = [(name, one) for name in sorted(told) for one in told[name]]
        vectors = [vector_of[one.text] for _, one in listed]
        return cls(
            tuple(one.text for _, one in listed),
            tuple(name for name, _ in listed),
            np.array(vectors, dtype=np.float32) if vectors else np.zeros((0, 0), dtype=np.float32),
            np.array([one.weight for _, one in listed], dtype=np.float32),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def same_as(self, other: Prototypes) -> bool:
        """Whether both say the same of the same agents."""
        return self.texts == other.texts and self.names == other.names and np.array_equal(self.weight, other.weight)

    def vector_of(self) -> dict[str, NDArray[np.float32]]:
        """The embedding of every text."""
        return dict(zip(self.texts, self.vectors, strict=True))

    def marks(self) -> NDArray[np.uint32]:
        """A hash of each text."""
        return np.array([zlib.crc32(text.encode()) for text in self.texts], dtype=np.uint32)

    def facts(self, names: Names, distrusted: Iterable[str], *, exclusive: bool) -> Facts:
        """Each prototype as a label; those of agents that have changed count for less."""
        codes = np.array([names.code(name) for name in self.names], dtype=np.int32)
        weight = self.weight.copy()
        for name in distrusted:
            own = codes == names.code(name)
            mass = float(weight[own].sum(dtype=np.float64))
            weight[own] *= np.float32(min(1.0, KEPT / mass) if mass > 0.0 else 1.0)
        none, zero = np.full(len(codes), UNKNOWN, dtype=np.int32), np.zeros(len(codes), dtype=np.float32)
        spared = zero + np.float32(1.0 if exclusive else OWN_RIVALRY)
        return Facts(codes, zero + np.float32(1.0), none, zero, spared, weight)


def read_prototypes(
    arrays: Mapping[str, NDArray[Any]], texts: tuple[str, ...], names: tuple[str, ...], dimension: int | None
) -> Prototypes:
    """Prototypes of which the arrays were read from disk.

    Raises:
        KeyError: if an array is missing.
        ValueError: if they do not fit each other.
    """
    if len(names) != len(texts):
        raise ValueError("there are more prototypes than names, or fewer")
    vectors = array_of(arrays, "prototypes", np.float32, (len(texts), dimension if texts else None))
    weight = array_of(arrays, "prototype_weight", np.float32, (len(texts),), (0.0, math.inf))
    return Prototypes(texts, names, vectors, weight)
