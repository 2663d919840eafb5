"""What each arm is worth, and how far two lie apart, valid at every look and whatever the shares were.

Each unit gives one pseudo-outcome an arm: what was expected of the arm, and, where the unit came to it and reported, by
how much that was wrong, over the chance that it came and reported (augmented inverse propensity weighting). What was
expected, and how often an arm reports, is learnt from the units before it, so that nothing of a unit is used twice, and
the mean of an arm's pseudo-outcomes is the arm's, whatever was expected. Means of them over time get an asymptotic
confidence sequence. Chances may change with what was seen so far, as in a rollout or a bandit: every unit has its own.

Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476, section 3.2, and Waudby-Smith, Wu, Ramdas,
Karampatziakis & Mineiro, "Anytime-valid off-policy inference for contextual bandits", arXiv 2210.10768.

Failures that are rare show late: an arm that few units came to may look better than it is, and surely so, because none
of the few has failed yet. So each arm's squared deviations begin with some that are imagined, as many units of the
farthest possible value as a score interval adds to a share (Agresti & Coull, The American Statistician 52, 1998): half
the square of the normal deviate that the sequence uses where it is sharpest. They are forgotten as units come.

What is not reported is taken to be missing at random within its arm, which the guardrail on reporting shares is there
to doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.evaluation.intervals import Interval
from router_sdk.evaluation.sequential import deviate_squared, mean_sequence, sequence_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHRINKAGE = 10.0
"""Units of all arms that an arm's reporting share begins with."""


@dataclass(frozen=True, slots=True, eq=False)
class Pseudo:
    """Pseudo-outcomes in the order of assignment; none depends on a later unit.

    Attributes:
        values: Their mean is the mean of an arm, or a difference of two arms', shape ``(n,)``.
        squares: What one unit that lies off by 1 adds to their squared deviations, as of each unit, shape ``(n,)``.
    """

    values: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __sub__(self, other: Pseudo) -> Pseudo:
        """How much more than another arm this one is worth."""
        return Pseudo(self.values - other.values, self.squares + other.squares)

    def sequence(self, alpha: float, sharpest: float) -> NDArray[np.float64]:
        """A confidence sequence for the mean, shape ``(n, 2)``, see ``mean_sequence``."""
        return mean_sequence(self.values, alpha, sharpest, imagined=deviate_squared(alpha) / 2.0 * self.squares)

    def interval(self, alpha: float, sharpest: float) -> Interval:
        """The mean and its sequence after the last unit; unbounded while there are fewer than two."""
        if self.values.size < 2:
            return Interval(0.0, -math.inf, math.inf)
        low, high = self.sequence(alpha, sharpest)[-1]
        return Interval(float(self.values.mean()), float(low), float(high))

    @property
    def error(self) -> float:
        """The mean's standard error, as of now alone; infinite with fewer than two units."""
        return float(self.values.std(ddof=1)) / math.sqrt(self.values.size) if self.values.size > 1 else math.inf


def pseudo_outcomes(values: NDArray[np.float64], mine: NDArray[np.bool_], probability: NDArray[np.float64]) -> Pseudo:
    """One arm's pseudo-outcomes, whose mean is the arm's.

    Args:
        values: A metric, in [0, 1], NaN where nothing was reported, in the order of assignment, shape ``(n,)``.
        mine: Which units came to this arm, shape ``(n,)``.
        probability: With which each unit came to the arm it came to, in (0, 1], shape ``(n,)``.
    """
    told = ~np.isnan(values)
    known = mine & told
    value = np.where(known, values, 0.0)
    begun = np.cumsum(told) > 0  # while nobody has reported a metric, nothing is known of how often it is
    units, reports = _before(mine & begun), _before(known)
    expected = (_before(value) + 0.5) / (reports + 1.0)  # begun with one imagined value, half way
    everybody = (_before(told) + 1.0) / (_before(begun) + 1.0)
    share = (reports + _SHRINKAGE * everybody) / (units + _SHRINKAGE)
    weight = np.where(known, 1.0 / (probability * share), 0.0)
    squares = np.cumsum(weight * weight) / np.maximum(np.cumsum(known), 1.0)
    return Pseudo(expected + weight * (value - expected), squares)


def _before(column: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of all that came before."""
    total: NDArray[np.float64] = np.cumsum(column, dtype=np.float64) - column
    return total


def composite(parts: Mapping[str, Pseudo], weights: Mapping[str, float]) -> Pseudo:
    """One arm's pseudo-outcomes of a weighted mean of metrics, each of which may be missing on its own.

    Args:
        parts: The metrics'.
        weights: Of those that count, one at least; they sum to 1.
    """
    values = [weight * parts[name].values for name, weight in weights.items()]
    squares = [weight * weight * parts[name].squares for name, weight in weights.items()]
    return Pseudo(np.sum(values, axis=0), np.sum(squares, axis=0))


def sharpest_at(shares: tuple[float, float]) -> float:
    """After how many units a comparison is to be at its narrowest: 2,000 at equal shares, more where one arm gets few.

    A difference's variance goes with the sum of both shares' reciprocals, and with it the units that it takes.
    """
    return 500.0 * sum(1.0 / share for share in shares)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A confidence sequence as it came about.

    Attributes:
        at: When each unit closed, in seconds since the epoch, shape ``(k,)``.
        units: How many units were closed then, shape ``(k,)``.
        mean: Shape ``(k,)``.
        low: Shape ``(k,)``.
        high: Shape ``(k,)``.
    """

    at: NDArray[np.float64]
    units: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def path(pseudo: Pseudo, closed_at: NDArray[np.float64], alpha: float, sharpest: float, most: int) -> Path:
    """The sequence over time, at up to ``most`` of the units from the second on, the last among them."""
    size = pseudo.values.size
    chosen = np.unique(np.linspace(1, size - 1, most).astype(np.int64)) if size > 1 else np.zeros(0, np.int64)
    sequence = pseudo.sequence(alpha, sharpest)[chosen]
    mean = np.cumsum(pseudo.values)[chosen] / (chosen + 1.0)
    return Path(closed_at[chosen], chosen + 1, mean, sequence[:, 0], sequence[:, 1])


def units_needed(pseudo: Pseudo, effect: float, alpha: float, sharpest: float) -> float:
    """After how many units a sequence of this variance lies wholly beyond 0, if its mean is ``effect`` then.

    Args:
        pseudo: What was seen so far, at least two units.
        effect: The mean, above 0.
        alpha: As of the sequence.
        sharpest: As of the sequence.
    """
    count = np.geomspace(2.0, 1e9, 4_000)
    width = float(pseudo.values.std()) * sequence_width(count, alpha, sharpest)
    within = np.flatnonzero(width <= effect)
    return float(count[within[0]]) if within.size else math.inf
