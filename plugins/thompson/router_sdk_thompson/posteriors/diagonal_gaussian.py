"""Diagonal Gaussian posteriors over sparse features: adaptive regularisation of weights, one row per agent.

Each agent has a weight and a precision per feature; a rare feature keeps its doubt and moves far, a common one
settles (AROW: Crammer, Kulesza and Dredze, 2009, here for squared loss). A text's features weigh ``1 / sqrt(n)``.
The prior, which the agents' examples shape, is kept apart from the evidence.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.numerics.normal_gamma import capacity
from router_sdk_thompson.features.hashed_text import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LEAST_ROWS = 8
FEW = 24
"""Updates of a row up to which they are mirrored one by one."""


class DiagonalGaussian:
    """Weights and precisions of many agents.

    Args:
        variance: Prior variance of each weight.
        halved: How often the features were halved: neighbours share a place then.

    Attributes:
        rows: Agent name to row.
        mean: Weights, shape ``(rows, FEATURES >> halved)``, float32.
        precision: What the evidence adds to the prior's precision, same shape.
        count: Observations, shape ``(rows,)``.
    """

    def __init__(self, variance: float, halved: int = 0) -> None:
        self.base, self.halved = 1.0 / variance, halved
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self._allocate(LEAST_ROWS)

    def _allocate(self, rows: int) -> None:
        # Fresh zeros are not in memory until they are written, so a thousand new agents cost nothing.
        self.count = np.zeros(rows)
        self.mean = np.zeros((rows, FEATURES >> self.halved), dtype=np.float32)
        self.precision = np.zeros((rows, FEATURES >> self.halved), dtype=np.float32)

    def at(self, ids: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where the features with these ids are; two of a text may share a place."""
        return ids >> self.halved if self.halved else ids

    def halve(self, times: int) -> DiagonalGaussian:
        """The same with its features halved so often in all: what was learnt of neighbours is one weight's evidence."""
        less = DiagonalGaussian(1.0 / self.base, times)
        less._allocate(len(self.mean))
        less.rows, less._free, less.count[:] = dict(self.rows), list(self._free), self.count
        for row in self.rows.values():
            precision = self.precision[row].reshape(len(less.precision[row]), -1)
            moment = (self.mean[row].reshape(precision.shape) * (precision + self.base)).sum(axis=1)
            less.precision[row] = precision.sum(axis=1)
            less.mean[row] = moment / (less.precision[row] + self.base)
        return less

    def row(self, agent: str) -> int:
        """The agent's row; a new one is empty."""
        found = self.rows.get(agent)
        if found is None:
            found = self._free.pop() if self._free else len(self.rows)
            kept = len(self.mean)
            if found >= kept:
                mean, precision, count = self.mean, self.precision, self.count
                self._allocate(capacity(found + 1))
                self.count[:kept] = count
                for row in range(kept):
                    touched = np.flatnonzero(precision[row])
                    self.mean[row, touched] = mean[row, touched]
                    self.precision[row, touched] = precision[row, touched]
            self.rows[agent] = found
        return found

    def catch_up(self, source: DiagonalGaussian, touched: dict[int, list[NDArray[np.intp]]]) -> None:
        """Become like ``source``, which changed in these rows, at these places of them, since the last time."""
        if self.mean.shape != source.mean.shape:
            self.halved = source.halved
            self._allocate(len(source.mean))
            touched = {row: [] for row in range(len(source.rows) + len(source._free))}
        for row, places in touched.items():
            self.count[row] = source.count[row]
            if 0 < len(places) <= FEW:
                for ids in map(self.at, places):
                    self.mean[row, ids] = source.mean[row, ids]
                    self.precision[row, ids] = source.precision[row, ids]
            elif self.mean[row].any() or source.precision[row].any():
                self.mean[row] = source.mean[row]
                self.precision[row] = source.precision[row]
        if self.rows != source.rows:
            self.rows = dict(source.rows)

    def forget(self, agents: Iterable[str]) -> None:
        """Empty these agents' rows and leave them to newcomers."""
        for agent in agents:
            row = self.rows.pop(agent, None)
            if row is not None:
                self.mean[row] = self.precision[row] = 0.0
                self.count[row] = 0.0
                self._free.append(row)

    def scores(
        self, ids: NDArray[np.intp], prior: DiagonalGaussian | None, agents: Sequence[str]
    ) -> tuple[list[float], ...]:
        """Mean and standard deviation of each agent's score at a text with these features."""
        size = len(ids)
        mean = np.zeros((len(agents), size), dtype=np.float32)
        precision = np.full((len(agents), size), self.base, dtype=np.float32)
        for source in (self,) if prior is None else (self, prior):
            places, at = [source.rows.get(agent, -1) for agent in agents], source.at(ids)
            if max(places) < 0:
                continue
            if min(places) >= 0:
                index = np.array(places)[:, None]
                mean += source.mean[index, at]
                precision += source.precision[index, at]
            else:
                held = [place >= 0 for place in places]
                index = np.array([place for place in places if place >= 0])[:, None]
                mean[held] += source.mean[index, at]
                precision[held] += source.precision[index, at]
        means = mean.sum(axis=1) / sqrt(size)
        np.reciprocal(precision, out=precision)
        return means.tolist(), np.sqrt(precision.sum(axis=1) / size).tolist()

    def step(
        self, row: int, ids: NDArray[np.intp], prior: DiagonalGaussian | None, prior_row: int
    ) -> tuple[float, float, NDArray[np.float32]]:
        """Score, its variance and the direction of an update of one agent at these features."""
        at = self.at(ids)
        precision = self.precision[row].take(at)
        score = float(self.mean[row].take(at).sum())
        if prior is not None and prior_row >= 0:
            at = prior.at(ids)
            precision += prior.precision[prior_row].take(at)
            score += float(prior.mean[prior_row].take(at).sum())
        precision += self.base
        np.reciprocal(precision, out=precision)
        size = len(ids)
        return score / sqrt(size), float(precision.sum()) / size, precision

    def move(self, row: int, ids: NDArray[np.intp], change: NDArray[np.float32], precision: float) -> None:
        """Add to the weights of these features, and to their precision."""
        mean, held, at = self.mean[row], self.precision[row], self.at(ids)
        mean[at] += change
        held[at] += precision

    def fade(self, rows: Iterable[int], share: float) -> None:
        """Let what is known count only a share of what it did."""
        for row in rows:
            touched = np.flatnonzero(self.precision[row])
            old = self.precision[row, touched]
            new = old * share
            self.mean[row, touched] *= share * (self.base + old) / (self.base + new)
            self.precision[row, touched] = new
            self.count[row] *= share

    def counts(self, agents: Iterable[str]) -> list[float]:
        """Observations of each agent."""
        rows, count = self.rows, self.count
        return [count.item(rows[agent]) if agent in rows else 0.0 for agent in agents]
