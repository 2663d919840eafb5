"""Recalibration: from the confidence that was given to the reward that comes of it on average.

Three maps are fitted to pairs of both, each one step further from what was given: none at all; Platt's, a line on the
scale of log odds (Platt, "Probabilistic outputs for support vector machines", 1999); and Platt's with the steps of an
isotonic regression over bins of equal mass ("scaling-binning", Kumar, Liang & Ma, NeurIPS 2019; Zadrozny & Elkan, KDD
2002), joined by lines. The answer is their mean by Akaike weights (Burnham & Anderson, "Model selection and multimodel
inference", 2002): a step counts for as much as the pairs say that it is needed, so that what is right already stays.

What learns gets better, and a mean over old pairs lags behind it. So Platt's line may move with the age of a pair, and
is read where it has come to by now (local linear regression: Fan & Gijbels, 1996); whether it does is weighed alike.
Grades spread less around their mean than successes do, and say so much more: likelihoods are divided by the dispersion
(quasi-likelihood: Wedderburn, 1974).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

LEAST = 50
"""Pairs below which nothing is fitted."""
HALF_LIFE = 500.0
"""Pairs after which one counts half."""
BINS = 10
PSEUDO_PAIRS = 5.0
"""Pairs by which a bin's mean is held to what Platt's map says of it."""
PRIOR, HELD = 1.0, np.array([1.0, 0.0, 0.0])
"""Precision with which Platt's slope, his intercept, and its shift in a half-life are held, and to what."""
TREND = 2.0
"""Nats by which a line that moves must be better to be as likely as one that stands still."""

COINS = 0.9
"""Dispersion from which rewards count as successes: what is missing is chance."""

_LEAST_DISPERSION = 0.01
_CLOSE = 1e-3
"""Steps of Newton's below which the next one, of the order of its square, makes no difference."""
_EDGE = 1e-4
"""Confidences are kept this far from 0 and 1 before their log odds are taken."""
_STEEPEST = 40.0
_ITERATIONS = 30


class Calibrator(NamedTuple):
    """An increasing map of [0, 1] to itself.

    Attributes:
        pairs: From how many it was fitted.
        weights: Akaike weights of the identity, of Platt's map, and of that with steps; they sum to 1.
        slope: Of the line on the scale of log odds, at least 0, as of the newest pair.
        intercept: Of it.
        scaled: Where the steps are, as what Platt's map says, increasing from 0 to 1.
        means: What comes there, never decreasing, from 0 to 1.
    """

    pairs: int
    weights: tuple[float, float, float]
    slope: float
    intercept: float
    scaled: tuple[float, ...]
    means: tuple[float, ...]

    def __call__(self, confidence: float) -> float:
        """The reward to be expected where this confidence, in [0, 1], was given."""
        given = min(max(confidence, _EDGE), 1.0 - _EDGE)
        height = self.slope * math.log(given / (1.0 - given)) + self.intercept
        platt = 1.0 / (1.0 + math.exp(-min(max(height, -_STEEPEST), _STEEPEST)))
        right = min(max(bisect_right(self.scaled, platt), 1), len(self.scaled) - 1)
        low, high = self.scaled[right - 1], self.scaled[right]
        share = (platt - low) / (high - low) if high > low else 0.0
        stepped = self.means[right - 1] + share * (self.means[right] - self.means[right - 1])
        kept, straight, steps = self.weights
        return min(max(kept * confidence + straight * platt + steps * stepped, 0.0), 1.0)


def fit_calibrator(confidences: ArrayLike, rewards: ArrayLike, weights: ArrayLike | None = None) -> Calibrator | None:
    """The map that pairs speak for, the newest most.

    Args:
        confidences: What was given, in [0, 1], oldest first, shape ``(n,)``.
        rewards: What came of each, in [0, 1].
        weights: What each counts for beside the others, above 0; all alike by default.

    Returns:
        None where there are fewer than ``LEAST`` pairs: what was given stands as it is.
    """
    given = np.asarray(confidences, dtype=np.float64)
    came = np.asarray(rewards, dtype=np.float64)
    count = len(given)
    if count < LEAST:
        return None
    age = np.arange(1 - count, 1, dtype=np.float64) / HALF_LIFE
    mass = np.exp2(age)
    if weights is not None:
        counts = np.asarray(weights, dtype=np.float64)
        mass *= counts * (counts.sum() / (counts @ counts))
    inner = given.clip(_EDGE, 1.0 - _EDGE)
    design = np.stack([np.log(inner) - np.log1p(-inner), np.ones(count), age])
    still = _line(design[:2], came, mass, HELD[:2])
    spread = _dispersion(_logistic(still @ design[:2]), came, mass)
    if spread < COINS:
        mass /= max(spread, _LEAST_DISPERSION)
        still = _line(design[:2], came, mass, still)
    moving = _line(design, came, mass, np.append(still, 0.0))
    gained = [_log_likelihood(_logistic(line @ design[: len(line)]), came, mass) for line in (still, moving)]
    moves = float(_logistic(np.array(gained[1] - gained[0] - TREND)))
    line = moves * moving + (1.0 - moves) * np.append(still, 0.0)
    platt = _logistic(line @ design)
    scaled, means, levels = _steps(platt, came, mass)
    evidence = np.array([_log_likelihood(said, came, mass) for said in (inner, platt, np.interp(platt, scaled, means))])
    evidence -= np.cumsum([0.0, 2.0 + moves, levels])
    shares = np.exp(evidence - evidence.max())
    kept, straight, steps = (shares / shares.sum()).tolist()
    slope, intercept, _ = line.tolist()
    return Calibrator(count, (kept, straight, steps), slope, intercept, tuple(scaled.tolist()), tuple(means.tolist()))


def _logistic(height: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-height.clip(-_STEEPEST, _STEEPEST)))
    return found


def _log_likelihood(said: Floats, came: Floats, mass: Floats) -> float:
    """Of rewards in [0, 1] as of shares of successes."""
    inner = said.clip(_EDGE, 1.0 - _EDGE)
    return float(mass @ (came * np.log(inner) + (1.0 - came) * np.log1p(-inner)))


def _dispersion(said: Floats, came: Floats, mass: Floats) -> float:
    """Variance of rewards around what was said, in units of that of successes."""
    return float(mass @ np.square(came - said)) / float(mass @ (said * (1.0 - said)))


def _line(design: Floats, came: Floats, mass: Floats, start: Floats) -> Floats:
    """Coefficients of a logistic regression on the rows of ``design``; that of the first, the log odds, at least 0."""
    line = _newton(design, came, mass, start)
    if line[0] < 0.0:
        line = _newton(np.vstack([np.zeros_like(design[:1]), design[1:]]), came, mass, start)
        line[0] = 0.0
    return line


def _newton(design: Floats, came: Floats, mass: Floats, start: Floats) -> Floats:
    """The same, whatever its sign; held to ``HELD``."""
    line, held, precision = start, HELD[: len(design)], PRIOR * np.eye(len(design))
    for _ in range(_ITERATIONS):
        said = _logistic(line @ design)
        up = design @ (mass * (came - said)) - PRIOR * (line - held)
        step = np.linalg.solve((design * (mass * said * (1.0 - said))) @ design.T + precision, up)
        most = float(np.abs(step).max())
        line = line + step / max(most, 1.0)  # never further than 1, or a bad start overshoots
        if most < _CLOSE:
            break
    return line


def _steps(platt: Floats, came: Floats, mass: Floats) -> tuple[Floats, Floats, int]:
    """Means of bins of equal mass, pooled until they increase, from (0, 0) to (1, 1), and how many differ."""
    order = np.argsort(platt, kind="stable")
    upto = np.cumsum(mass[order])
    box = np.minimum((upto - mass[order] / 2.0) / upto[-1] * BINS, BINS - 1).astype(np.intp)
    weight = np.bincount(box, mass[order], BINS)
    filled = weight > 0.0
    weight = weight[filled]
    centre = np.bincount(box, (mass * platt)[order], BINS)[filled] / weight
    reward = np.bincount(box, (mass * came)[order], BINS)[filled]
    held = np.asarray(weight + PSEUDO_PAIRS, dtype=np.float64)
    means = increasing((reward + PSEUDO_PAIRS * centre) / held, held)
    return np.array([0.0, *centre, 1.0]), np.array([0.0, *means, 1.0]), len(set(means))


def increasing(values: Floats, weights: Floats) -> list[float]:
    """The never decreasing sequence closest to ``values``: pool adjacent violators (Ayer et al., 1955).

    Args:
        values: Shape ``(n,)``.
        weights: Of each, above 0.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (first, mass, many), (second, more, others) = blocks[-2:]
            blocks[-2:] = [((first * mass + second * more) / (mass + more), mass + more, many + others)]
    return [value for value, _, many in blocks for _ in range(many)]
