"""The head that an encoder came with: log odds that were trained elsewhere, by agent."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.encoding.weights import read_classifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import Encoder
    from router_sdk_bert.head.logistic_regression import LogisticModel

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True, eq=False)
class TrainedRows:
    """Log odds that are linear in a vector, by agent.

    Attributes:
        names: Agents.
        weights: Shape ``(k, d)``.
        intercepts: Shape ``(k,)``.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]

    def of(self, agents: Sequence[str | None]) -> TrainedRows:
        """The rows of these agents, less their mean: one that was not trained stands at the average of the others."""
        place_of = {name: place for place, name in enumerate(self.names)}
        places = [place_of.get(name, -1) if name is not None else -1 for name in agents]
        trained = np.array([place >= 0 for place in places], dtype=bool)
        weights = np.where(trained[:, None], self.weights[places], 0.0).astype(np.float32)
        intercepts = np.where(trained, self.intercepts[places], 0.0).astype(np.float32)
        if trained.any():
            weights[trained] -= weights[trained].mean(axis=0)
            intercepts[trained] -= intercepts[trained].mean()
        return TrainedRows(tuple(str(name) for name in agents), weights, intercepts)

    def odds(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log odds of vectors of shape ``(n, d)``, shape ``(n, k)``."""
        found: NDArray[np.float32] = vectors @ self.weights.T + self.intercepts
        return found

    def added_to(self, logistic: LogisticModel) -> LogisticModel:
        """A model that was fitted to what these rows leave, with these rows."""
        weights, intercepts = logistic.weights + self.weights, logistic.intercepts + self.intercepts
        return replace(logistic, weights=weights, intercepts=intercepts)


def trained_with(encoder: Encoder) -> TrainedRows | None:
    """The rows of a sequence-classification checkpoint, by label; None for an encoder that came without."""
    folder: Path | None = getattr(encoder, "folder", None)
    return None if folder is None else _trained_rows(folder, encoder.tag)


@lru_cache(maxsize=4)
def _trained_rows(folder: Path, tag: str) -> TrainedRows | None:
    try:
        found = read_classifier(folder)
    except CorruptArtifactError as error:
        logger.warning("the head that the encoder came with is left aside: %s", error)
        return None
    return None if found is None else TrainedRows(found.labels, found.norm * found.weight, found.bias)
