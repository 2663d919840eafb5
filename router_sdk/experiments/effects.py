"""What each arm is worth, and how far two lie apart, valid at every look and whatever the shares were.

Each unit gives one pseudo-outcome an arm: what was expected of the arm, and, where the unit came to it and reported, by
how much that was wrong, over the chance that it came and reported (augmented inverse propensity weighting). What was
expected, and how often an arm reports, is learnt from the units before it, so that nothing of a unit is used twice, and
the mean of an arm's pseudo-outcomes is the arm's, whatever was expected. Means of them over time get an asymptotic
confidence sequence. Chances may change with what was seen so far, as in a rollout or a bandit: every unit has its own.

Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476, section 3.2, and Waudby-Smith, Wu, Ramdas,
Karampatziakis & Mineiro, "Anytime-valid off-policy inference for contextual bandits", arXiv 2210.10768.

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
from router_sdk.evaluation.sequential import mean_sequence

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHRINKAGE = 10.0
"""Units of all arms that an arm's reporting share begins with."""

Values = Mapping[str, "NDArray[np.float64]"]


def pseudo_outcomes(
    values: NDArray[np.float64], mine: NDArray[np.bool_], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One arm's pseudo-outcomes, whose mean is the arm's.

    Args:
        values: A metric, in [0, 1], NaN where nothing was reported, in the order of assignment, shape ``(n,)``.
        mine: Which units came to this arm, shape ``(n,)``.
        probability: With which each unit came to the arm it came to, in (0, 1], shape ``(n,)``.

    Returns:
        Shape ``(n,)``; a value depends on no later one.
    """
    told = ~np.isnan(values)
    known = mine & told
    value = np.where(known, values, 0.0)
    units, reports = _before(mine), _before(known)
    expected = (_before(value) + 0.5) / (reports + 1.0)  # begun with one imagined value, half way
    everybody = (_before(told) + 1.0) / (np.arange(values.size) + 1.0)
    share = (reports + _SHRINKAGE * everybody) / (units + _SHRINKAGE)
    return np.where(known, expected + (value - expected) / (probability * share), expected)


def _before(column: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of all that came before."""
    total: NDArray[np.float64] = np.cumsum(column, dtype=np.float64) - column
    return total


def composite(
    values: Values, weights: Mapping[str, float], mine: NDArray[np.bool_], probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One arm's pseudo-outcomes of the weighted mean of metrics, each of which may be missing on its own."""
    total = sum(weights.values())
    mixed = np.zeros(mine.size)
    for name, weight in weights.items():
        mixed += weight / total * pseudo_outcomes(values[name], mine, probability)
    return mixed


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


def interval_now(pseudo: NDArray[np.float64], alpha: float, sharpest: float) -> Interval:
    """A mean and its confidence sequence after the last unit; unbounded while there are fewer than two."""
    if pseudo.size < 2:
        return Interval(0.0, -math.inf, math.inf)
    low, high = mean_sequence(pseudo, alpha, sharpest)[-1]
    return Interval(float(pseudo.mean()), float(low), float(high))


def standard_error(pseudo: NDArray[np.float64]) -> float:
    """Of a mean, as of now alone; infinite with fewer than two values."""
    return float(pseudo.std(ddof=1)) / math.sqrt(pseudo.size) if pseudo.size > 1 else math.inf


def path(pseudo: NDArray[np.float64], closed_at: NDArray[np.float64], alpha: float, sharpest: float, most: int) -> Path:
    """The sequence over time, at up to ``most`` of the units, the last among them."""
    sequence = mean_sequence(pseudo, alpha, sharpest)
    last = pseudo.size - 1
    chosen = np.unique(np.linspace(min(1, last), last, most).astype(np.int64)) if pseudo.size else np.zeros(0, np.int64)
    mean = np.cumsum(pseudo)[chosen] / (chosen + 1.0)
    return Path(closed_at[chosen], chosen + 1, mean, sequence[chosen, 0], sequence[chosen, 1])


def units_needed(pseudo: NDArray[np.float64], effect: float, alpha: float, sharpest: float) -> float:
    """After how many units a sequence of this variance lies wholly beyond 0, if its mean is ``effect`` then.

    Args:
        pseudo: What was seen so far, at least two, shape ``(n,)``.
        effect: The mean, above 0.
        alpha: As of the sequence.
        sharpest: As of the sequence.
    """
    needed = -2.0 * math.log(alpha)
    rho2 = (needed + math.log(needed + 1.0)) / sharpest
    count = np.geomspace(2.0, 1e9, 4_000)
    grown = count * rho2 + 1.0
    width = pseudo.std() * np.sqrt(2.0 * grown / (count * count * rho2) * (0.5 * np.log(grown) - math.log(alpha)))
    within = np.flatnonzero(width <= effect)
    return float(count[within[0]]) if within.size else math.inf
