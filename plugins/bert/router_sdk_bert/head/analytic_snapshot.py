"""What requests read of the analytic head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.head.estimates import Estimate
from router_sdk_bert.head.evidence import count_votes, evidence
from router_sdk_bert.head.names import NOBODY, UNKNOWN
from router_sdk_bert.head.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.random_features import RandomFeatures
    from router_sdk_bert.head.settings import HeadConfig
    from router_sdk_bert.head.shelf import Shelves

PROTOTYPE_MASS = 10.0
"""Outcomes after which, for each prototype, its word counts half."""
MOST_SETS = 256


@dataclass(slots=True, frozen=True, eq=False)
class AnalyticModel:
    """One solution.

    Attributes:
        columns: Codes of the agents, shape ``(k,)``.
        weights: Shape ``(k, m)``.
        intercepts: Shape ``(k,)``.
        means: Mean vector of each agent, of length 1, shape ``(k, d)``.
        penalty: The ridge that cross-validation chose.
    """

    columns: NDArray[np.intp]
    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    means: NDArray[np.float32]
    penalty: float


@dataclass(slots=True, frozen=True, eq=False)
class AnalyticSnapshot:
    """A solution, what agents say of themselves, and how sharp the scores are.

    Attributes:
        config: The head's configuration.
        features: The random features, or None before the first vector.
        model: The newest solution, or None.
        shelves: The prototypes.
        sharpness: What scores are multiplied by to be log odds.
        count: Outcomes behind the sums.
        codes: Code by name.
        texts: What each prototype says.
        ids: Nothing is stored, so empty.
    """

    config: HeadConfig
    features: RandomFeatures | None
    model: AnalyticModel | None
    shelves: Shelves
    sharpness: float
    count: float
    codes: Mapping[str | None, int]
    texts: Sequence[str]
    ids: Sequence[str] = ()
    _places: dict[tuple[str, ...], tuple[NDArray[np.intp], NDArray[np.intp]]] = field(default_factory=dict)

    def estimate(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task; None where nothing is known to judge by."""
        model, found = self.model, nearest(self.shelves, vector, None, self.config.neighbours)
        if (model is None or self.features is None) and found is None:
            return None
        codes, columns = self._places_of(names)
        odds, nearness = np.zeros(len(codes)), -1.0
        if model is not None and self.features is not None:
            scores = (model.weights @ self.features(vector) + model.intercepts).astype(np.float64)
            odds = self.sharpness * np.where(columns >= 0, scores[columns], min(float(scores.min()), 0.0))
            nearness = float((model.means @ vector).max())
        if found is not None:
            mass = PROTOTYPE_MASS * len(self.texts)
            votes = count_votes(found.cosines, found.facts, codes)
            odds = odds + mass / (mass + self.count) * evidence(votes, "exclusive")[0]
            nearness = max(nearness, float(found.cosines[0]))
        chances = np.exp(odds - odds.max())
        chances /= chances.sum()
        count = len(names)
        nobody = float(chances[count]) if len(chances) > count else 0.0
        return Estimate(odds[:count], chances[:count], nobody, np.zeros(count), 1.0 - nearness, found)

    def _places_of(self, names: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Codes, and columns of the solution, of the agents and of nobody if that is known; -1 for strangers."""
        known = self._places.get(names)
        if known is None:
            place = {} if self.model is None else {int(code): at for at, code in enumerate(self.model.columns)}
            asked = (*names, None) if NOBODY in place else names
            codes = np.array([self.codes.get(name, UNKNOWN) for name in asked], dtype=np.intp)
            known = codes, np.array([place.get(int(code), -1) for code in codes], dtype=np.intp)
            if len(self._places) < MOST_SETS:
                self._places[names] = known
        return known
