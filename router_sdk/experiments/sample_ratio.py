"""Whether units came to the arms in the shares that were configured, at every look.

Where they did not, what is compared is no longer alike: something loses units of one arm, or sends some of them twice.
Each unit is a bet at the configured odds on the arm that it came to, by the shares seen so far; whoever has the right
odds expects no gain, whatever the bettor does (a multinomial test martingale). When the configured shares change, the
bettor begins anew; until a unit told it the new ones it bets by the old ones, which may cost and cannot gain by itself.

Source: Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, arXiv 2011.03567.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SURE = 0.001
"""Chance of a false alarm that is put up with: an alarm ends the experiment."""
_PRIOR = 100.0
"""Units by which the bettor believes in the configured shares at first."""
_SAME = 1e-9
"""Shares that differ by less are one."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Units by arm against the configured split.

    Attributes:
        observed: How many came to each arm.
        expected: How many should have, by the shares with which they came.
        p_value: Anytime-valid, in (0, 1].
    """

    observed: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float

    @property
    def right(self) -> bool:
        """Whether nothing speaks against the configured split."""
        return self.p_value >= SURE


def sample_ratio(arm: NDArray[np.int64], probability: NDArray[np.float64], arms: int) -> SampleRatio:
    """Compare the arms to which units came with the chances that they had.

    Args:
        arm: To which each came, in the order of assignment, shape ``(n,)``.
        probability: With which chance, shape ``(n,)``.
        arms: How many there are, at least 2.
    """
    shares = [1.0 / arms] * arms  # as configured, as far as the units told
    told = [False] * arms
    seen, count, since = [0] * arms, 0, 0  # since the configured shares changed; since any was told
    observed, expected = np.zeros(arms), np.zeros(arms)
    evidence = most = 0.0
    begun = False
    for place, chance in zip(arm.tolist(), probability.tolist(), strict=True):
        if begun:  # of the first nobody knew the shares
            evidence += math.log((seen[place] + _PRIOR * shares[place]) / (count + _PRIOR) / chance)
            most = max(most, evidence)
        if not told[place] or abs(chance - shares[place]) > _SAME:
            expected += since * np.array(shares)
            if told[place] or not _fits(chance, shares, told):
                observed += seen
                told, seen, count = [False] * arms, [0] * arms, 0
            told[place] = True
            shares, since = _with(place, chance, shares, told), 0
        seen[place] += 1
        count, since, begun = count + 1, since + 1, True
    observed += seen
    expected += since * np.array(shares)
    return SampleRatio(tuple(map(int, observed)), tuple(map(float, expected)), math.exp(-most))


def _fits(chance: float, shares: list[float], told: list[bool]) -> bool:
    """Whether a share that was not told before leaves the others what they were told to have."""
    return chance + sum(share for share, known in zip(shares, told, strict=True) if known) <= 1.0 + _SAME


def _with(place: int, chance: float, shares: list[float], told: list[bool]) -> list[float]:
    """The shares once an arm's is told: those that nobody told divide the rest as they did before."""
    fixed = [chance if arm == place else share if told[arm] else 0.0 for arm, share in enumerate(shares)]
    open_ = sum(share for share, known in zip(shares, told, strict=True) if not known)
    rest = max(1.0 - sum(fixed), 0.0) / open_ if open_ > 0.0 else 0.0
    return [each if told[arm] else share * rest for arm, (each, share) in enumerate(zip(fixed, shares, strict=True))]
