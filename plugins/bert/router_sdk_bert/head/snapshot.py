"""What requests read: immutable, published by one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.estimates import Estimate
from router_sdk_bert.head.evidence import TEMPERATURES, count_votes, evidence
from router_sdk_bert.head.names import NOBODY, UNKNOWN
from router_sdk_bert.head.novelty import novelty
from router_sdk_bert.head.search import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.model import Model
    from router_sdk_bert.head.search import Neighbours
    from router_sdk_bert.head.settings import HeadConfig
    from router_sdk_bert.head.shelf import Shelf

NEAR_COSINE = 0.15
"""Distance, in cosine, at which an outcome counts for one in e of what it counts for at no distance."""
MOST_SETS = 256
"""Sets of agents whose places are kept ready."""
WIDTHS = TEMPERATURES[:, None]


@dataclass(slots=True, frozen=True, eq=False)
class Snapshot:
    """A model with the rows that it and later outcomes stand on.

    Attributes:
        config: The head's configuration.
        model: The newest refit, or None where there was nothing to fit.
        shelves: Prototypes and stored rows.
        codes: Code by name.
        ids: Decision of each stored row, in the order of their shelf; may have grown since.
        texts: What each prototype says.
    """

    config: HeadConfig
    model: Model | None
    shelves: tuple[Shelf, Shelf]
    codes: Mapping[str | None, int]
    ids: Sequence[str]
    texts: Sequence[str]
    _places: dict[tuple[str, ...], tuple[NDArray[np.intp], NDArray[np.intp]]] = field(default_factory=dict)

    def estimate(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task; None where nothing is known to judge by.

        Args:
            vector: The task's embedding, float32 of shape ``(d,)`` and length 1.
            names: The agents in question.
        """
        model = self.model
        if model is None:
            return None
        codes, columns = self._places_of(names, model)
        found = nearest(self.shelves, vector, model.projection, self.config.neighbours)
        logistic = model.surface.odds(vector)
        odds = model.blend[0] * np.where(columns >= 0, logistic[columns], logistic.min())
        if found is not None:
            votes = count_votes(found.cosines[None].repeat(len(WIDTHS), 0), found.facts, len(self.codes), WIDTHS)
            odds += model.blend[1:] @ evidence(votes, codes, self.config.labels)
        chances = self._chances(odds)
        count = len(names)
        return Estimate(
            odds[:count],
            chances[:count],
            float(chances[count]) if len(chances) > count else 0.0,
            self._doubt(found, codes[:count]),
            1.0 if found is None else novelty(found, logistic),
            found,
        )

    def _places_of(self, names: tuple[str, ...], model: Model) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Codes, and columns of the model, of the agents and of nobody if that is known; -1 for strangers."""
        known = self._places.get(names)
        if known is None:
            asked = (*names, None) if NOBODY in model.columns else names
            codes = np.array([self.codes.get(name, UNKNOWN) for name in asked], dtype=np.intp)
            column_of = {int(code): column for column, code in enumerate(model.columns)}
            columns = np.array([column_of.get(int(code), -1) for code in codes], dtype=np.intp)
            known = codes, columns
            if len(self._places) < MOST_SETS:
                self._places[names] = known
        return known

    def _chances(self, odds: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.config.labels == "independent":
            return 1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0)))
        shares: NDArray[np.float64] = np.exp(odds - odds.max())
        shares /= shares.sum()
        return shares

    def _doubt(self, found: Neighbours | None, codes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Doubt falls with the square root of how much was seen of an agent nearby."""
        if found is None:
            return np.full(len(codes), self.config.exploration)
        facts = found.facts
        near = np.exp((found.cosines.astype(np.float64) - 1.0) / NEAR_COSINE) * facts.weight
        of_all = near * facts.credit * facts.rivalry
        own = near * (facts.credit + facts.blame) - of_all
        who = np.maximum(np.where(facts.right >= NOBODY, facts.right, facts.wrong), NOBODY)
        seen = np.bincount(who, own, minlength=len(self.codes)) + of_all.sum()
        return self.config.exploration / np.sqrt(1.0 + np.where(codes >= NOBODY, seen[codes], 0.0))
