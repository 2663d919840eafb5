"""Recalibration: from the confidence that was given to the reward that comes of it on average.

Three maps are fitted to pairs of both, each one step further from what was given: none at all; Platt's, a line on the
scale of log odds (Platt, "Probabilistic outputs for support vector machines", 1999); and Platt's with the steps of an
isotonic regression over bins of equal mass ("scaling-binning", Kumar, Liang & Ma, NeurIPS 2019; Zadrozny & Elkan, KDD
2002), joined by lines. The answer is their mean by Akaike weights (Burnham & Anderson, "Model selection and multimodel
inference", 2002): a step counts for as much as the pairs say that it is needed, so that what is right already stays.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 50
"""Pairs below which nothing is fitted."""
HALF_LIFE = 500.0
"""Pairs after which one counts half."""
BINS = 10
PSEUDO_PAIRS = 5.0
"""Pairs by which a bin's mean is held to what Platt's map says of it."""
PRIOR = 1.0
"""Precision with which Platt's slope is held to 1, and his intercept to 0."""

_EDGE = 1e-4
"""Confidences are kept this far from 0 and 1 before their log odds are taken."""
_STEEPEST = 40.0
_ITERATIONS = 30


class Calibrator(NamedTuple):
    """An increasing map of [0, 1] to itself.

    Attributes:
        pairs: From how many it was fitted.
        weights: Akaike weights of the identity, of Platt's map, and of that with steps; they sum to 1.
        slope: Of the line on the scale of log odds, at least 0.
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


def fit_calibrator(confidences: Sequence[float], rewards: Sequence[float]) -> Calibrator | None:
    """The map that pairs speak for, the newest most.

    Args:
        confidences: What was given, in [0, 1], oldest first.
        rewards: What came of each, in [0, 1].

    Returns:
        None where there are fewer than ``LEAST`` pairs: what was given stands as it is.
    """
    count = len(confidences)
    if count < LEAST:
        return None
    given = np.array(confidences, dtype=np.float64)
    came = np.array(rewards, dtype=np.float64)
    mass = 0.5 ** (np.arange(count - 1, -1, -1, dtype=np.float64) / HALF_LIFE)
    inner = given.clip(_EDGE, 1.0 - _EDGE)
    odds = np.log(inner) - np.log1p(-inner)
    slope, intercept = _platt(odds, came, mass)
    platt = _logistic(slope * odds + intercept)
    scaled, means, levels = _steps(platt, came, mass)
    stepped = np.interp(platt, scaled, means)
    evidence = np.array(
        [
            _log_likelihood(inner, came, mass),
            _log_likelihood(platt, came, mass) - 2.0,
            _log_likelihood(stepped, came, mass) - 2.0 - levels,
        ]
    )
    weights = np.exp(evidence - evidence.max())
    kept, straight, steps = (weights / weights.sum()).tolist()
    return Calibrator(count, (kept, straight, steps), slope, intercept, tuple(scaled.tolist()), tuple(means.tolist()))


def _logistic(height: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-height.clip(-_STEEPEST, _STEEPEST)))
    return found


def _log_likelihood(said: Floats, came: Floats, mass: Floats) -> float:
    """Of rewards in [0, 1] as of shares of successes."""
    inner = said.clip(_EDGE, 1.0 - _EDGE)
    return float(mass @ (came * np.log(inner) + (1.0 - came) * np.log1p(-inner)))


def _platt(odds: Floats, came: Floats, mass: Floats) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on log odds, held to 1 and 0; the slope is at least 0."""
    slope, intercept = _newton(odds, came, mass, 1.0)
    return (slope, intercept) if slope >= 0.0 else (0.0, _newton(np.zeros_like(odds), came, mass, 1.0)[1])


def _newton(odds: Floats, came: Floats, mass: Floats, slope: float) -> tuple[float, float]:
    intercept = 0.0
    for _ in range(_ITERATIONS):
        said = _logistic(slope * odds + intercept)
        missed, bend = mass * (came - said), mass * said * (1.0 - said)
        bent = bend * odds
        up, right = float(odds @ missed) - PRIOR * (slope - 1.0), float(missed.sum()) - PRIOR * intercept
        first, both, second = float(bent @ odds) + PRIOR, float(bent.sum()), float(bend.sum()) + PRIOR
        spread = first * second - both * both
        steps = (second * up - both * right) / spread, (first * right - both * up) / spread
        most = max(map(abs, steps))
        scale = 1.0 / max(most, 1.0)  # never further than 1, or a bad start overshoots
        slope, intercept = slope + scale * steps[0], intercept + scale * steps[1]
        if most < 1e-6:
            break
    return slope, intercept


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
