"""Whether what is earned fell below what was earned before, and whether what is judged is to blame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_sdk.evaluation.sequential import alarm_at, evidence_below, gain_interval
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.loop_settings import WatchConfig

LEAST = 20
"""Outcomes below which there is nothing to compare with."""
_PRIOR = 5.0
"""Outcomes of all that stand in for those of a task type of which few are known."""
_OWN = 0.5
"""Share of what is missing that the cause must have lost."""


class Earned(NamedTuple):
    """What one decision earned, and what would have been done without the cause that is judged.

    Attributes:
        task_type: Of the task.
        reward: In [0, 1].
        same: Whether the same would have been chosen.
        hoped: What that choice was expected to earn, in [0, 1]; None where nobody knows.
    """

    task_type: str
    reward: float
    same: bool = True
    hoped: float | None = None


class _Sums(NamedTuple):
    """Of some rewards: how many there are, their sum, and that of their squares."""

    size: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, reward: float) -> _Sums:
        """With one more."""
        return _Sums(self.size + 1, self.total + reward, self.squares + reward * reward)


class Baseline:
    """What was earned before, by task type.

    Args:
        earned: Of the decisions before.
    """

    def __init__(self, earned: Iterable[Earned]) -> None:
        self._whole = _Sums()
        self._types: dict[str, _Sums] = {}
        for one in earned:
            self._whole = self._whole.plus(one.reward)
            self._types[one.task_type] = self._types.get(one.task_type, _Sums()).plus(one.reward)

    @property
    def outcomes(self) -> int:
        """How many there are."""
        return self._whole.size

    def of_types(self, types: Sequence[str], alpha: float) -> tuple[NDArray[np.float64], float]:
        """What was earned with tasks of these types, and by how much the truth may be less on average.

        Args:
            types: One for each of some tasks, shape ``(n,)``.
            alpha: Chance that it is less than that still.

        Returns:
            Means, shape ``(n,)``, and the doubt.
        """
        means: dict[str, float] = {}
        variance = 0.0
        for key, count in Counter(types).items():
            means[key], own = self._estimate(self._types.get(key, _Sums()))
            variance += (count / len(types)) ** 2 * own
        return np.array([means[key] for key in types]), NormalDist().inv_cdf(1.0 - alpha) * math.sqrt(variance)

    def _estimate(self, sums: _Sums) -> tuple[float, float]:
        """A mean, shrunk to that of all, and its variance."""
        mass = sums.size + _PRIOR
        mean = (sums.total + _PRIOR * self._whole.total / self._whole.size) / mass
        spread = (sums.squares - 2.0 * mean * sums.total + sums.size * mean * mean + 0.25 * _PRIOR) / mass
        return mean, spread / mass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison came to.

    Attributes:
        outcomes: Outcomes that were compared.
        mean: What they earned on average, in [0, 1].
        expected: What such tasks earned before.
        differing: Share of them for which another choice would have been made without the cause.
        fallen: Why the cause is to be undone; None while nothing says so.
    """

    outcomes: int
    mean: float
    expected: float
    differing: float
    fallen: str | None


def compare(before: Baseline, since: Sequence[Earned], config: WatchConfig) -> Verdict:
    """Whether rewards fell because of what is judged, as far as may be said after any number of outcomes.

    Two tests share the chance of a false alarm. One compares all outcomes with those before, task type by task type;
    since the world may have changed meanwhile, it counts only where the choices that would not have been made without
    the cause lost at least half of what is missing. The other one looks at these choices alone: they must not earn
    much less than the others were expected to. How far such expectations hold is seen where the choices are the same.

    Args:
        before: What was earned before, ``LEAST`` outcomes or more.
        since: What is earned now, in the order in which it came; at least one.
        config: The chance of a false alarm, and what is tolerated.
    """
    rewards = np.array([one.reward for one in since])
    usual, doubt = before.of_types([one.task_type for one in since], config.alpha / 4.0)
    differing = np.array([not one.same for one in since])
    hoped = np.array([np.nan if one.hoped is None else one.hoped for one in since])
    hoped = np.where(np.isnan(hoped), usual, hoped) * _kept(rewards[~differing], hoped[~differing])
    mean, expected, share = float(rewards.mean()), float(usual.mean()), float(differing.mean())
    own = float(np.sum((hoped - rewards)[differing])) / len(since)
    fallen: str | None = None
    if own >= _OWN * (expected - mean) and _alarm(rewards, usual - doubt - config.tolerance, config.alpha / 4.0):
        fallen = f"it earned {mean:.3f} where {expected:.3f} came before, in {counted(len(since), 'outcome')}"
    elif share > 0.0:
        theirs, others = rewards[differing], hoped[differing]
        if _alarm(theirs, others - config.doubt_otherwise - config.tolerance / share, config.alpha / 2.0):
            fallen = (
                f"where what served before would have chosen otherwise, in {len(theirs)} of "
                f"{counted(len(since), 'outcome')}, it earned {theirs.mean():.3f} and that "
                f"hoped for {others.mean():.3f}"
            )
    return Verdict(len(since), mean, expected, share, fallen)


def _kept(rewards: NDArray[np.float64], hoped: NDArray[np.float64]) -> float:
    """Which share of what was hoped for came, at most all of it; where few are known, it is taken for nearly all."""
    known = ~np.isnan(hoped)
    return min(1.0, (float(rewards[known].sum()) + _PRIOR) / (float(hoped[known].sum()) + _PRIOR))


def _alarm(rewards: NDArray[np.float64], floors: NDArray[np.float64], alpha: float) -> bool:
    return alarm_at(evidence_below(rewards, np.clip(floors, 0.0, 1.0)), alpha) is not None


def gain_bounds(before: Baseline, since: Sequence[Earned], alpha: float) -> tuple[float, float]:
    """Bounds of what is earned beyond what came before, that hold at all times at once with chance ``1 - alpha``."""
    expected, doubt = before.of_types([one.task_type for one in since], alpha / 4.0)
    low, high = gain_interval([one.reward for one in since], expected, alpha / 2.0)
    return max(low - doubt, -1.0), min(high + doubt, 1.0)
