"""Diagonal Gaussian posteriors over sparse features: adaptive regularisation of weights, one row per agent.

Each agent has a weight and a precision per feature; a rare feature keeps its doubt and moves far, a common one
settles (AROW: Crammer, Kulesza and Dredze, 2009, here for squared loss). A text's features weigh ``1 / sqrt(n)``, and
beside them stands the agent's level, which is what it earns whatever the text; an agent that little is known of earns
what all do. Weights are rewards; variances and precisions are in units of the rewards' variance, so that what is
assumed of noise and doubt holds for grades that differ by little as it does for success and failure.
The prior, which the agents' examples shape, is kept apart from the evidence, and in units of the rewards' spread.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.numerics.normal_gamma import capacity
from router_sdk_thompson.features.hashed_text import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from router_sdk.numerics.reward_scale import Scale

LEAST_ROWS = 8
FEW = 24
"""Updates of a row up to which they are mirrored one by one."""
LEVEL_BASE = 10.0
"""Precision of the prior on an agent's level, in units of one over the rewards' variance."""

LEVEL_DOUBT = 0.5
"""Standard deviations that doubt about a level is worth."""


class Direction(NamedTuple):
    """Along which one observation moves an agent's weights.

    Attributes:
        score: Reward expected at these features.
        added: What the text adds to the agent's level in it.
        variance: Variance of the score, the level's included, in units of the rewards'.
        widths: Variance of each feature's weight.
        level: Variance of the level.
        at: Where the features are.
        mean: Their weights, as far as the evidence goes, and
        precision: what it adds to the prior's precision.
    """

    score: float
    added: float
    variance: float
    widths: NDArray[np.float32]
    level: float
    at: NDArray[np.intp]
    mean: NDArray[np.float32]
    precision: NDArray[np.float32]


class DiagonalGaussian:
    """Weights and precisions of many agents.

    Args:
        variance: Prior variance of each weight, in units of the rewards' variance.
        halved: How often the features were halved: neighbours share a place then.

    Attributes:
        rows: Agent name to row.
        mean: Weights, shape ``(rows, FEATURES >> halved)``, float32.
        precision: What the evidence adds to the prior's precision, same shape.
        level: What of each agent's level was learnt, beside its share of everybody's mean, shape ``(rows,)``.
        settled: What the evidence adds to the precision of the level's prior, same shape.
        count: Observations, same shape.
    """

    def __init__(self, variance: float, halved: int = 0) -> None:
        self.base, self.halved = 1.0 / variance, halved
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self._allocate(LEAST_ROWS)

    def _allocate(self, rows: int) -> None:
        # Fresh zeros are not in memory until they are written, so a thousand new agents cost nothing.
        self.count, self.level, self.settled = np.zeros(rows), np.zeros(rows), np.zeros(rows)
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
        less.level[:], less.settled[:] = self.level, self.settled
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
                mean, precision, numbers = self.mean, self.precision, (self.count, self.level, self.settled)
                self._allocate(capacity(found + 1))
                self.count[:kept], self.level[:kept], self.settled[:kept] = numbers
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
            self.level[row], self.settled[row] = source.level[row], source.settled[row]
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
                self.count[row] = self.level[row] = self.settled[row] = 0.0
                self._free.append(row)

    def scores(
        self,
        ids: NDArray[np.intp],
        prior: DiagonalGaussian | None,
        agents: Sequence[str],
        scale: Scale,
        alpha: float = 1.0,
    ) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each agent's reward at a text with these features.

        Args:
            ids: The features.
            prior: What examples say.
            agents: Whose.
            scale: Of the rewards.
            alpha: Standard deviations that doubt about the weights is worth; the level's is worth ``LEVEL_DOUBT``.
        """
        size = len(ids)
        mean = np.zeros((len(agents), size), dtype=np.float32)
        precision = np.full((len(agents), size), self.base, dtype=np.float32)
        settled, level = np.full(len(agents), LEVEL_BASE), np.zeros(len(agents))
        for source, unit in ((prior, scale.spread), (self, 1.0)):
            if source is None:
                continue
            places, at = [source.rows.get(agent, -1) for agent in agents], source.at(ids)
            if max(places) < 0:
                continue
            held: slice | list[bool] = slice(None)
            if min(places) < 0:
                held = [place >= 0 for place in places]
                places = [place for place in places if place >= 0]
            rows = np.array(places)
            index = rows[:, None]
            weights = source.mean[index, at]
            mean[held] += weights if source is self else np.float32(unit) * weights
            precision[held] += source.precision[index, at]
            settled[held] += source.settled[rows]
            level[held] += source.level[rows]
        np.reciprocal(settled, out=settled)
        means = mean.sum(axis=1) / sqrt(size) + level + settled * (LEVEL_BASE * scale.mean)
        np.reciprocal(precision, out=precision)
        variances = precision.sum(axis=1) * (alpha * alpha / size) + settled * LEVEL_DOUBT**2
        return means.tolist(), (scale.spread * np.sqrt(variances)).tolist()

    def means(
        self, ids: NDArray[np.intp], prior: DiagonalGaussian | None, agents: Sequence[str], scale: Scale
    ) -> list[float]:
        """The first half of ``scores``, for a third of the time."""
        if not agents:
            return []
        places = [self.rows.get(agent, -1) for agent in agents]
        rows = np.array(places)
        if prior is None and min(places) >= 0:
            at, used = self.at(ids), max(places) + 1
            if used <= 2 * len(places):
                sums = self.mean[:used].take(at, axis=1).sum(axis=1)[rows]
            else:
                sums = self.mean[rows[:, None], at].sum(axis=1)
            sums /= sqrt(len(ids))
            levels = self.settled[rows]
            levels += LEVEL_BASE
            np.divide(LEVEL_BASE * scale.mean, levels, levels)
            levels += self.level[rows]
            levels += sums
            quick: list[float] = levels.tolist()
            return quick
        known = rows >= 0
        sums = np.where(known, self.mean[rows[:, None], self.at(ids)].sum(axis=1), 0.0)
        share = LEVEL_BASE / (LEVEL_BASE + np.where(known, self.settled[rows], 0.0))
        if prior is not None:
            held = np.array([prior.rows.get(agent, -1) for agent in agents])
            told = prior.mean[held[:, None], prior.at(ids)].sum(axis=1)
            sums += scale.spread * np.where(held >= 0, told, 0.0)
        found: list[float] = (
            sums / sqrt(len(ids)) + np.where(known, self.level[rows], 0.0) + share * scale.mean
        ).tolist()
        return found

    def direction(
        self, row: int, ids: NDArray[np.intp], prior: DiagonalGaussian | None, prior_row: int, scale: Scale
    ) -> Direction:
        """What one agent is expected to earn at these features, and along what an observation would move it."""
        at = self.at(ids)
        precision, mean = self.precision[row].take(at), self.mean[row].take(at)
        score, widths = float(np.add.reduce(mean)), precision
        if prior is not None and prior_row >= 0:
            told = prior.at(ids)
            widths = precision + prior.precision[prior_row].take(told)
            score += scale.spread * float(prior.mean[prior_row].take(told).sum())
        widths = widths + self.base
        np.reciprocal(widths, out=widths)
        size, level = len(ids), 1.0 / (LEVEL_BASE + self.settled.item(row))
        added, earned = score / sqrt(size), self.level.item(row) + LEVEL_BASE * level * scale.mean
        variance = float(np.add.reduce(widths)) / size + level
        return Direction(earned + added, added, variance, widths, level, at, mean, precision)

    def move(self, row: int, along: Direction, error: float, noise: float, weight: float) -> None:
        """Move weights and level towards what would have met a prediction that was off by ``error``.

        Args:
            row: Whose.
            along: What ``direction`` said of the text's features; nothing was learnt of the agent since.
            error: Reward less prediction.
            noise: Noise that weights are moved with, in units of the rewards' variance; the level's is one.
            weight: What the observation counts.
        """
        step = error / (sqrt(len(along.at)) * (along.variance + noise / weight))
        moved = along.widths * np.float32(step)
        moved += along.mean
        self.mean[row][along.at] = moved
        self.level[row] += along.level * error / (along.variance + 1.0 / weight)

    def settle(self, row: int, along: Direction, noise: float, weight: float, mean: float) -> None:
        """Add the precision of one observation, or take it back; none falls below the prior's.

        Args:
            row: Whose.
            along: As for ``move``.
            noise: As for ``move``.
            weight: What the observation counts, negative where it is taken back.
            mean: Mean of all rewards; what the level took of it until now it goes on to take.
        """
        before = self.settled.item(row)
        held = along.precision + np.float32(weight / (noise * len(along.at)))
        if weight < 0.0:
            np.maximum(held, 0.0, out=held)
        self.precision[row][along.at] = held
        self.settled[row] = after = max(before + weight, 0.0)
        self.level[row] += LEVEL_BASE * mean * (1.0 / (LEVEL_BASE + before) - 1.0 / (LEVEL_BASE + after))

    def fade(self, rows: Iterable[int], share: float) -> None:
        """Let what is known count only a share of what it did."""
        for row in rows:
            touched = np.flatnonzero(self.precision[row])
            old = self.precision[row, touched]
            new = old * share
            self.mean[row, touched] *= share * (self.base + old) / (self.base + new)
            self.precision[row, touched] = new
            settled = self.settled[row]
            self.level[row] *= share * (LEVEL_BASE + settled) / (LEVEL_BASE + share * settled)
            self.settled[row] = share * settled
            self.count[row] *= share

    def counts(self, agents: Iterable[str]) -> list[float]:
        """Observations of each agent."""
        rows, count = self.rows, self.count
        return [count.item(rows[agent]) if agent in rows else 0.0 for agent in agents]
