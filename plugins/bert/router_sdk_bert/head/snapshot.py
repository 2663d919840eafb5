"""What requests read: immutable, published by one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk_bert.head.estimates import Estimate
from router_sdk_bert.head.neighbours import count_votes, evidence, nearest, nearest_to_each
from router_sdk_bert.head.out_of_scope import novelty
from router_sdk_bert.head.rows import NOBODY, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.neighbours import Neighbours, VectorMemory
    from router_sdk_bert.head.refit import Model

MOST_SETS = 256
"""Sets of agents whose places are kept ready."""


class Asked(NamedTuple):
    """Where the agents in question are.

    Attributes:
        codes: Their codes, -1 of those that are not known.
        columns: Their columns of the model, -1 of those that have none.
        strangers: Places among the agents of those that have none.
    """

    codes: NDArray[np.int32]
    columns: NDArray[np.intp]
    strangers: NDArray[np.intp]


@dataclass(slots=True, frozen=True, eq=False)
class Snapshot:
    """A model with the rows that it and later outcomes stand on.

    Attributes:
        config: The head's configuration.
        model: The newest refit, or None where there was nothing to fit.
        stored: Prototypes and stored rows.
        codes: Code by name.
        ids: Decision of each stored row, in the order of their block; may have grown since.
        texts: What each prototype says.
        exclusive: Whether exactly one agent is right, so that chances sum to 1.
        places: Where agents are that were asked for, to be found again as long as the model is the same.
    """

    config: HeadConfig
    model: Model | None
    stored: VectorMemory
    codes: Mapping[str | None, int]
    ids: Sequence[str]
    texts: Sequence[str]
    exclusive: bool
    places: dict[tuple[str, ...], Asked] = field(default_factory=dict)

    def estimate(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task; None where nothing is known to judge by.

        Args:
            vector: The task's embedding, float32 of shape ``(d,)`` and length 1.
            names: The agents in question.
        """
        model = self.model
        if model is None:
            return None
        odds, coarse = model.seen(vector)
        found = nearest(self.stored, vector, self.stored.scan(coarse), self.config.neighbours)
        odds, chances, nobody, doubt, novel = self._weighed(model, odds, found, names)
        codes = None if found is None else self._places_of(names, model).codes[: len(names)]
        return Estimate(odds, chances, float(nobody), doubt, float(novel), found, model.limit, codes)

    def estimate_batch(self, vectors: NDArray[np.float32], names: tuple[str, ...]) -> list[Estimate | None]:
        """The same of several tasks, shape ``(m, d)``: what is stored is scanned for all of them at once."""
        model, count = self.model, self.config.neighbours
        if model is None:
            return [None] * len(vectors)
        odds, coarse = zip(*map(model.seen, vectors), strict=True)
        scanned = self.stored.scan(None if model.projection is None else np.stack(coarse))
        found = nearest_to_each(self.stored, vectors, scanned, count)
        if found is None:
            return [self.estimate(vector, names) for vector in vectors]
        rows = zip(*self._weighed(model, np.stack(odds), found, names), strict=True)
        codes = self._places_of(names, model).codes[: len(names)]
        return [
            Estimate(own, chances, float(nobody), doubt, float(novel), found.of(row), model.limit, codes)
            for row, (own, chances, nobody, doubt, novel) in enumerate(rows)
        ]

    def _weighed(
        self, model: Model, logistic: NDArray[np.float64], found: Neighbours | None, names: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], ...]:
        """What the logistic estimate and the neighbours come to together, of one task or of several.

        Returns:
            Of an ``Estimate`` all but the neighbours, in order, each with an axis more in front for several tasks.
        """
        codes, columns, strangers = self._places_of(names, model)
        odds = model.blend[0] * logistic[..., columns]
        if len(strangers):
            odds[..., strangers] = model.blend[0] * logistic.min(axis=-1, keepdims=True)
        seen = np.zeros(len(codes))
        if found is not None:
            votes = count_votes(found.cosines, found.facts, codes)
            odds += model.blend[1:] @ evidence(votes, exclusive=self.exclusive)
            seen = votes.mass[..., -1, :] * (votes.good[..., -1, :] + votes.bad[..., -1, :])
        chances = self._chances(odds)
        count = len(names)
        none = np.zeros(odds.shape[:-1])
        return (
            odds[..., :count],
            chances[..., :count],
            chances[..., count] if len(codes) > count else none,
            # Doubt falls with the square root of how much was seen of an agent nearby.
            self.config.exploration / np.sqrt(1.0 + seen[..., :count]),
            none + 1.0 if found is None else novelty(found, logistic),
        )

    def _places_of(self, names: tuple[str, ...], model: Model) -> Asked:
        """Where the agents are, and nobody if that is known."""
        known = self.places.get(names)
        if known is None:
            asked = (*names, None) if NOBODY in model.columns else names
            codes = np.array([self.codes.get(name, UNKNOWN) for name in asked], dtype=np.int32)
            column_of = {int(code): column for column, code in enumerate(model.columns)}
            columns = np.array([column_of.get(int(code), -1) for code in codes], dtype=np.intp)
            known = Asked(codes, columns, np.flatnonzero(columns < 0))
            if len(self.places) < MOST_SETS:
                self.places[names] = known
        return known

    def _chances(self, odds: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.exclusive:
            return 1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0)))
        shares: NDArray[np.float64] = np.exp(odds - np.maximum.reduce(odds, axis=-1, keepdims=True))
        shares /= np.add.reduce(shares, axis=-1, keepdims=True)
        return shares
