"""Whether rewards fell, asked again after every outcome: tests that stay valid however often one looks.

A test at a fixed size that is looked at again and again raises a false alarm sooner or later. Here each outcome is a
bet against "the mean is at least so much", whose stake depends on earlier outcomes alone. If that is true, nobody
expects to win, and the chance that the wealth ever reaches ``1 / alpha`` is at most ``alpha`` (Ville's inequality).

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), sections 3
to 5; the stake is their "approximate GRAPA". What has no bounds, such as a reward divided by a propensity, has an
asymptotic confidence sequence: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52 (2024), arXiv 2103.06476, equation 13.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_MOST_STAKED = 0.75
"""Share of the wealth that one outcome can cost at most."""
_IMAGINED = 0.2
"""By how much an imagined first value falls short: who begins with a suspicion is sooner where it is true."""
_GRID = 201
"""Values of a bound that are tried."""


def evidence_below(values: ArrayLike, floors: ArrayLike) -> NDArray[np.float64]:
    """The wealth of who bets that the mean lies below a floor, after each value, as its natural logarithm.

    If each value's mean, given those before it, is at least its floor, the wealth ever exceeds ``1 / alpha`` with a
    chance of at most ``alpha``, whatever else the values do.

    Args:
        values: What came, in [0, 1], in the order in which it came, shape ``(n,)``, or ``(m, n)`` for several who bet.
        floors: A floor for each, in [0, 1], known before the value was; what is not there for each, stands for all.

    Returns:
        Shape ``(n,)``, or ``(m, n)`` where values or floors are of that shape, or floors of ``(m, 1)``.
    """
    seen = np.asarray(values, dtype=np.float64)
    wanted = np.broadcast_to(np.asarray(floors, dtype=np.float64), np.broadcast_shapes(np.shape(floors), seen.shape))
    short = wanted - seen  # how much each falls short of its floor
    before = np.arange(1.0, short.shape[-1] + 1.0)  # those before, and an imagined one
    mean = (_IMAGINED + np.cumsum(short, axis=-1) - short) / before
    variance = (0.25 + np.cumsum(short * short, axis=-1) - short * short) / before - mean * mean
    stake = np.clip(mean / (variance + mean * mean), 0.0, _MOST_STAKED / np.maximum(1.0 - wanted, 1e-9))
    wealth: NDArray[np.float64] = np.cumsum(np.log1p(stake * short), axis=-1)
    return wealth


def alarm_at(evidence: NDArray[np.float64], alpha: float) -> int | None:
    """After how many values the wealth first reached ``1 / alpha``; None where it did not."""
    reached = np.flatnonzero(evidence >= -math.log(alpha))
    return int(reached[0]) + 1 if reached.size else None


def gain_interval(values: ArrayLike, baselines: ArrayLike, alpha: float) -> tuple[float, float]:
    """A confidence sequence, as of now, for how much more the values earn on average than a baseline.

    With a chance of at least ``1 - alpha`` it holds the true gain at every time it is asked.

    Args:
        values: What came, in [0, 1], shape ``(n,)``.
        baselines: What was expected of each, in [0, 1]: a number, or shape ``(n,)``.
        alpha: Chance that it ever misses, in (0, 1).

    Returns:
        The lowest and the highest gain that are not refuted, within [-1, 1].
    """
    seen = np.asarray(values, dtype=np.float64)
    expected = np.broadcast_to(np.asarray(baselines, dtype=np.float64), seen.shape)
    if not seen.size:
        return -1.0, 1.0
    gains = np.linspace(-1.0, 1.0, _GRID)[:, None]
    high = _refuted(seen, expected + gains, alpha / 2.0)
    low = _refuted(1.0 - seen, 1.0 - expected - gains, alpha / 2.0)
    possible = gains[~(high | low), 0]
    if not possible.size:  # the values contradict every constant gain: it changed on the way
        middle = float(np.mean(seen - expected))
        return middle, middle
    step = 2.0 / (_GRID - 1)
    return max(-1.0, float(possible[0]) - step), min(1.0, float(possible[-1]) + step)


def mean_sequence(
    values: ArrayLike,
    alpha: float,
    sharpest_at: float = 1_000.0,
    imagined: ArrayLike = 0.0,
    least_variance: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """Confidence sequences for a mean, after each value: asymptotically, with a chance of 1 - alpha all hold it.

    For values without known bounds. While there are few, it may miss more often than ``alpha`` says: ask it from some
    dozens of values on, and see ``docs/testing.md`` for how often it did.

    Args:
        values: What came, in the order in which it came, shape ``(n,)``.
        alpha: Chance that it ever misses, in (0, 1).
        sharpest_at: After how many values it is to be at its narrowest, compared with others of its kind; chosen
            before the first value is seen.
        imagined: Squared deviations that are added to those seen, a number or shape ``(n,)``: where values are rarely
            far from the rest, few of them show too little of how much they vary.
        least_variance: What the values' variance is known to be at least, however they fell: a number, or shape
            ``(n,)``. It is for values of which a few rare ones make most of the variance.

    Returns:
        The lowest and the highest mean after each value, shape ``(n, 2)``; infinite after the first.
    """
    seen = np.asarray(values, dtype=np.float64)
    count = np.arange(1.0, seen.size + 1.0)
    mean = np.cumsum(seen) / count
    centred = seen - (mean[-1] if seen.size else 0.0)  # a large common part would swallow the differences
    squares = np.cumsum(centred * centred) + np.asarray(imagined, dtype=np.float64)
    variance = np.maximum(squares / count - (np.cumsum(centred) / count) ** 2, 0.0)
    width = np.sqrt(np.maximum(variance, least_variance)) * sequence_width(count, alpha, sharpest_at)
    width[:1] = math.inf
    return np.stack([mean - width, mean + width], axis=1)


def sequence_width(count: ArrayLike, alpha: float, sharpest_at: float = 1_000.0) -> NDArray[np.float64]:
    """Half of the width of ``mean_sequence`` after so many values, in their standard deviations, in the same shape."""
    counted = np.asarray(count, dtype=np.float64)
    rho2 = deviate_squared(alpha) / sharpest_at
    grown = counted * rho2 + 1.0
    half: NDArray[np.float64] = np.sqrt(
        2.0 * grown / (counted * counted * rho2) * (0.5 * np.log(grown) - math.log(alpha))
    )
    return half


def deviate_squared(alpha: float) -> float:
    """The square of that width about where it is sharpest, times the count: the normal deviate that it stands for."""
    needed = -2.0 * math.log(alpha)
    return needed + math.log(needed + 1.0)


def _refuted(seen: NDArray[np.float64], floors: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """For each row of floors whether the values lie below them; floors that no value can reach are refuted."""
    beyond = np.mean(floors, axis=-1) > 1.0
    evidence = evidence_below(seen, np.clip(floors, 0.0, 1.0))
    found: NDArray[np.bool_] = (np.max(evidence, axis=-1) >= -math.log(alpha)) | beyond
    return found
