"""A scorer that learns from scored examples what good answers look like: ridge regression on hashed words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from router_sdk.rewards.quality import Execution, QualityScorer, Score
from router_sdk.spelling import counted, folded, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 1 << 14
"""Into which words are hashed; two words rarely share one."""
FOLDS = 5
RIDGE = 1.0
BEYOND_CHANCE = 2.0
"""By how many standard errors its errors must be smaller than those of the mean."""
LEAST_SPREAD = 1e-6
MEASURE_SCALE = 4.0
"""By how many standard deviations a measure is divided: a few of them shall not outweigh all words."""
_MOST_WORDS = 400
_SHOWN = 5
_MEASURES = ("length of the task", "length of the response", "words that both have", "latency")


class _Model(NamedTuple):
    """What was fitted.

    Attributes:
        weights: Of the hashed words, then of the measures.
        centre: Mean quality.
        means: Of the measures.
        spreads: Their standard deviations.
    """

    weights: NDArray[np.float64]
    centre: float
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]


class Discriminator(QualityScorer):
    """Predicts a quality from the words of task and response, who answered, their lengths, and the latency.

    Ridge regression (Hoerl & Kennard, 1970) on hashed words and pairs of words (Weinberger et al., ICML 2009), by
    scikit-learn. It says nothing before it has shown, on folds that share no text with what it learnt from, that it
    errs less than the mean quality would, by two standard errors; and it counts by the share of the variance that it
    explained there.

    Args:
        least: Scored examples that it takes.
    """

    name = "discriminator"
    needs_text = True

    def __init__(self, least: int = 50) -> None:
        self._least = least
        self._model: _Model | None = None
        self._explained = 0.0

    def fit(self, scored: Sequence[tuple[Execution, float]]) -> str | None:
        """Cross-validate, then learn from everything."""
        self._model = None
        if len(scored) < self._least:
            return f"{len(scored)} examples have a quality that somebody gave, it takes {self._least}"
        quality = np.array([value for _, value in scored])
        if float(quality.std()) < LEAST_SPREAD:
            return f"all {len(scored)} examples have the same quality"
        named = [_named(one) for one, _ in scored]
        measures = np.array([_measures(one) for one, _ in scored])
        means, spreads = measures.mean(axis=0), measures.std(axis=0)
        spreads = MEASURE_SCALE * np.where(spreads < LEAST_SPREAD, 1.0, spreads)
        design = _design(named, (measures - means) / spreads)
        texts = np.array([crc32(folded(one.task.text).encode()) for one, _ in scored])
        gains = np.zeros(len(scored))
        for number in range(FOLDS):
            out, kept = np.flatnonzero(texts % FOLDS == number), np.flatnonzero(texts % FOLDS != number)
            if not (len(out) and len(kept)):
                return f"the texts of {counted(len(scored), 'example')} are too few to be divided"
            centre, weights = _fitted(design[kept], quality[kept])
            foretold = np.clip(centre + design[out] @ weights, 0.0, 1.0)
            gains[out] = (quality[out] - centre) ** 2 - (quality[out] - foretold) ** 2
        error = _standard_error(gains, texts)
        if float(gains.mean()) <= BEYOND_CHANCE * error:
            return f"on {counted(len(scored), 'example')} it errs no less than the mean quality does"
        self._explained = min(1.0, float(gains.mean()) / float(quality.var()))
        centre, weights = _fitted(design, quality)
        self._model = _Model(weights, centre, means, spreads)
        return None

    def score(self, execution: Execution) -> Score | None:
        """What is foretold, and what moved it most from the mean quality."""
        model = self._model
        if model is None or not (execution.task.text or execution.response):
            return None
        named, measures = _named(execution), _measures(execution)
        moved = _moved(model, named, measures)
        largest = sorted(moved.items(), key=lambda pair: -abs(pair[1]))[:_SHOWN]
        because = {"mean": model.centre - 0.5, **dict(largest)}
        return Score(_value(model, named, measures), self._explained, because)


def _standard_error(gains: NDArray[np.float64], texts: NDArray[Any]) -> float:
    """Of the mean gain; those of one text go together (Liang & Zeger, Biometrika 1986)."""
    sums = np.bincount(np.unique(texts, return_inverse=True)[1], weights=gains - gains.mean())
    return float(np.sqrt(np.square(sums).sum())) / len(gains)


def _named(execution: Execution) -> dict[str, float]:
    """Words and pairs of words by where they stand, and who answered; together of length one."""
    found: dict[str, float] = {}
    for place, text in (("task", execution.task.text), ("response", execution.response or "")):
        told = words(folded(text[: 20 * _MOST_WORDS]))[:_MOST_WORDS]
        for name in (*told, *map(" ".join, pairwise(told))):
            key = f"{place} {name!r}"
            found[key] = found.get(key, 0.0) + 1.0
    length = math.sqrt(sum(count * count for count in found.values())) or 1.0
    return {**{key: count / length for key, count in found.items()}, f"agent {execution.agent}": 0.5}


def _measures(execution: Execution) -> list[float]:
    task, response = (words(folded(text or "")) for text in (execution.task.text, execution.response))
    both = len(set(task) & set(response)) / (len(set(task)) or 1)
    return [math.log1p(len(task)), math.log1p(len(response)), both, math.log1p(execution.signals.latency_ms or 0.0)]


def _column(name: str) -> int:
    return crc32(name.encode("utf-8", "replace")) % COLUMNS


def _design(named: Sequence[dict[str, float]], measures: NDArray[Any]) -> Any:
    """A sparse row for each example: hashed words, then the measures, scaled."""
    from scipy.sparse import csr_matrix, hstack

    rows = np.repeat(np.arange(len(named)), [len(one) for one in named])
    columns = [_column(name) for one in named for name in one]
    values = [value for one in named for value in one.values()]
    hashed = csr_matrix((values, (rows, columns)), shape=(len(named), COLUMNS))
    return hstack([hashed, csr_matrix(measures)]).tocsr()


def _fitted(design: Any, quality: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    """The mean quality, and the weights of what is beyond it."""
    from sklearn.linear_model import Ridge

    centre = float(quality.mean())
    ridge = Ridge(alpha=RIDGE, fit_intercept=False, solver="lsqr")
    ridge.fit(design, quality - centre)
    return centre, ridge.coef_


def _moved(model: _Model, named: dict[str, float], measures: Sequence[float]) -> dict[str, float]:
    """By how much each thing moves what is foretold, in quality."""
    moved = {name: float(model.weights[_column(name)]) * value for name, value in named.items()}
    scaled = (np.asarray(measures) - model.means) / model.spreads
    told = dict(zip(_MEASURES, scaled * model.weights[COLUMNS:], strict=True))
    return {**moved, **{name: float(value) for name, value in told.items()}}


def _value(model: _Model, named: dict[str, float], measures: Sequence[float]) -> float:
    return min(max(model.centre + sum(_moved(model, named, measures).values()), 0.0), 1.0)
