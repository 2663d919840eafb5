"""How evidence adds up: each source takes a share of what the ones before it left (*stick breaking*)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Source(NamedTuple):
    """What one source of evidence said.

    Attributes:
        kind: ``"rule"``, ``"capability"``, ``"text"`` or ``"default agent"``.
        name: Which one.
        reason: Why it spoke.
        shares: Probability it gave to each agent, shape ``(k,)``.
    """

    kind: str
    name: str
    reason: str
    shares: Floats


class Belief:
    """Probability that each of ``k`` agents is right, as it grows.

    Two sources of weight 0.9 that agree leave a doubt of 0.01, however many agents there are.

    Attributes:
        sources: What was said so far, in order.
        doubt: Probability that no source has claimed yet, in [0, 1].
    """

    __slots__ = ("_count", "doubt", "sources")

    def __init__(self, count: int) -> None:
        self._count = count
        self.sources: list[Source] = []
        self.doubt = 1.0

    def favour(self, positions: Sequence[int], weight: float, kind: str, name: str, reason: str) -> None:
        """Give a part of the doubt, in [0, 1], to some agents in equal shares."""
        shares = np.zeros(self._count)
        shares[list(positions)] = self.doubt * weight / len(positions)
        self.sources.append(Source(kind, name, reason, shares))
        self.doubt *= 1.0 - weight

    def spread(self, parts: Floats, kind: str, name: str, reason: str) -> None:
        """Give parts of the doubt, shape ``(k,)``, at least 0 and with a sum of at most 1."""
        self.sources.append(Source(kind, name, reason, self.doubt * parts))
        self.doubt *= max(0.0, 1.0 - float(parts.sum()))

    def probabilities(self) -> Floats:
        """Shape ``(k,)``, summing to 1: doubt that is left is everybody's."""
        total = np.full(self._count, self.doubt / self._count)
        for source in self.sources:
            total += source.shares
        return total
