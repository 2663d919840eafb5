"""Which of several policies answers: the one that would have earned most, by kind of task.

A model may predict the agents that were chosen better than another and choose worse. So policies are compared by what
their favourites would have earned. Of a logged decision that is estimated doubly robustly (Dudík, Langford and Li,
2011): what a regression expects of the favourite, and, where the favourite is who acted, the regression's error over
the propensity with which it was chosen.

The policies are weighed exponentially by these gains, with the learning rate of a second-order bound (Cesa-Bianchi,
Mansour and Stoltz, 2007): over ``n`` decisions their mixture earns less than the best of ``m`` policies by no more than
the order of ``sqrt(V log m)``, where ``V`` is the variance that was seen of the gains, as in Exp4 (Auer et al., 2002).
Gains fade, and each policy keeps a small share (Herbster and Warmuth, 1998), so that the best one is found again after
a change.
"""

from __future__ import annotations

from math import exp, isfinite, log, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.numerics.recency import put_last

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_RATIO = 20.0
"""Most that one over the propensity counts: what it takes off the estimate's variance is worth its bias."""
YOUNG = 20.0
"""Decisions that all count alike; of more, the newer ones count more."""
MEMORY = 2_000.0
"""Decisions after which a gain counts 1/e at the latest."""
SHRINK = 100.0
"""Decisions that what all kinds say together is worth in what one of them decides."""
RATE = 1.07
"""The bound's constant: the root of 2 (√2 - 1) / (e - 2)."""
CALM = 4.0
"""Variance that is assumed before any was seen, where nothing else is said."""
LEAST = 0.005
"""Share that every policy keeps."""
LEADING = 0.5
"""Least share of the best one, so that most answers, and all rankings, are one policy's."""


def doubly_robust(
    expected: Sequence[float], favourites: Sequence[int], acted: int, reward: float, propensity: float
) -> list[float]:
    """What each of some policies would have earned on one logged decision, where it gives all to its favourite.

    Args:
        expected: Reward that a regression expects of each of ``k`` agents, learnt from other decisions.
        favourites: Place of each policy's favourite among the agents.
        acted: Place of the agent that acted.
        reward: What came of it.
        propensity: Probability with which it was chosen, above 0.
    """
    error = min(1.0 / propensity, MOST_RATIO) * (reward - expected[acted])
    return [expected[place] + (error if place == acted else 0.0) for place in favourites]


class Gains(NamedTuple):
    """Faded sums over decisions of one kind.

    Attributes:
        seen: Decisions that there ever were.
        mass: Decisions that count.
        variance: Of the gains among the policies, weighed by their shares.
        sums: What each policy would have earned.
    """

    seen: float
    mass: float
    variance: float
    sums: tuple[float, ...]

    def plus(self, gains: Sequence[float], variance: float) -> Gains:
        """The same with one decision more."""
        seen, mass, spread, earned = self
        kept = 1.0 - 1.0 / min(YOUNG + seen, MEMORY)
        sums = [kept * before + gain for before, gain in zip(earned, gains, strict=True)]
        return Gains(seen + 1.0, kept * mass + 1.0, kept * spread + variance, tuple(sums))


class PolicyWeights:
    """What each policy's share is, by kind of task, at one moment; never changed, only replaced.

    Args:
        prior: What each policy is trusted with before anything was seen, summing to 1.
        calm: Variance that is assumed before any was seen.
        overall: Over all kinds.
        kinds: By kind.
    """

    def __init__(self, prior: Sequence[float], calm: float, overall: Gains, kinds: Mapping[str, Gains]) -> None:
        self._prior, self._calm, self._overall, self._kinds = prior, calm, overall, kinds
        self._known: dict[str | None, tuple[float, ...]] = {}

    def of(self, kind: str) -> tuple[float, ...]:
        """Share of each policy in the mixture that answers tasks of that kind, summing to 1, each at least ``LEAST``.

        The best one has at least half.
        """
        of_kind = self._kinds.get(kind)
        key = None if of_kind is None else kind  # all that were never seen are alike
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._weighed(of_kind)
        return known

    def _weighed(self, of_kind: Gains | None) -> tuple[float, ...]:
        (_, mass, variance, sums), count = self._overall, len(self._prior)
        worth = min(1.0, SHRINK / max(mass, 1.0))
        variance *= worth
        if of_kind is None:
            sums = tuple([worth * earned for earned in sums])
        else:
            sums = tuple([worth * earned + own for earned, own in zip(sums, of_kind.sums, strict=True)])
            variance += of_kind.variance
        rate, best = RATE * sqrt(log(max(count, 2)) / (self._calm + variance)), max(sums)
        grown = [prior * exp(rate * (earned - best)) for prior, earned in zip(self._prior, sums, strict=True)]
        total, rest = sum(grown), 1.0 - count * LEAST
        shares = [LEAST + rest * share / total for share in grown]
        most = max(shares)
        leader = shares.index(most)
        if most < LEADING:
            scale = (1.0 - LEADING) / (1.0 - shares[leader])
            shares = [LEADING if place == leader else scale * share for place, share in enumerate(shares)]
        return tuple(shares)


class PolicySelection:
    """Weights of some policies, by kind of task, each shrunk towards what all kinds say together.

    Of kinds beyond ``MOST_KINDS`` those heard of longest ago are new ones again.

    Args:
        policies: Their names.
        prior: What each is trusted with before anything was seen, summing to 1; all alike by default.
        cautious: Whether the variance of gains is that among policies with even shares, which is larger: the log odds
            of two then are theirs at first and 1.8 times the standard score of how far their gains are apart.
    """

    def __init__(
        self, policies: Sequence[str], prior: Sequence[float] | None = None, *, cautious: bool = False
    ) -> None:
        self.policies, self._cautious = tuple(policies), cautious
        self.prior = tuple(prior) if prior is not None else (1.0 / len(policies),) * len(policies)
        self.calm = CALM
        self._overall = self._none = Gains(0.0, 0.0, 0.0, (0.0,) * len(policies))
        self._kinds: dict[str, Gains] = {}
        self._current: PolicyWeights | None = None

    @property
    def weights(self) -> PolicyWeights:
        """What follows from all that was seen so far."""
        if self._current is None:
            self._current = PolicyWeights(self.prior, self.calm, self._overall, self._kinds)
        return self._current

    def trust(self, prior: Sequence[float], calm: float = CALM) -> None:
        """Set what each policy is trusted with before anything was seen, summing to 1, and how long that lasts.

        Args:
            prior: Share of each.
            calm: Variance of gains that is assumed: the more, the later what is seen outweighs the prior.
        """
        if (tuple(prior), calm) != (self.prior, self.calm):
            self.prior, self.calm, self._current = tuple(prior), calm, None

    def note(self, kind: str, gains: Sequence[float]) -> None:
        """Take in what each policy would have earned on a task of that kind, about 0 to 1."""
        of_kind = self._kinds.get(kind, self._none)
        shares = (1.0 / len(gains),) * len(gains) if self._cautious else self.weights.of(kind)
        mean = sum([share * gain for share, gain in zip(shares, gains, strict=True)])
        variance = sum([share * (gain - mean) ** 2 for share, gain in zip(shares, gains, strict=True)])
        self._overall = self._overall.plus(gains, variance)
        kinds = self._kinds.copy()  # weights that are in use stay as they are
        put_last(kinds, kind, of_kind.plus(gains, variance))
        self._kinds, self._current = kinds, None

    def report(self) -> dict[str, dict[str, float]]:
        """Weight of each policy by kind, and under ``""`` what a new kind would begin with."""
        kinds = ["", *sorted(self._kinds)]
        return {
            kind: {name: round(share, 3) for name, share in zip(self.policies, self.weights.of(kind), strict=True)}
            for kind in kinds
        }

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as JSON values."""
        kinds = {kind: _told(gains) for kind, gains in self._kinds.items()}
        return {"policies": list(self.policies), "overall": _told(self._overall), "kinds": kinds}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave.

        Raises:
            ValueError: if it is of other policies, or a number is not finite or, where it counts something, negative.
            KeyError: if something is missing.
        """
        if tuple(state["policies"]) != self.policies:
            raise ValueError(f"gains of {state['policies']}, where {list(self.policies)} are compared")
        count = len(self.policies)
        self._overall = _read(state["overall"], count)
        self._kinds = {str(kind): _read(told, count) for kind, told in dict(state["kinds"]).items()}
        self._current = None


def _told(gains: Gains) -> list[float]:
    return [gains.seen, gains.mass, gains.variance, *gains.sums]


def _read(told: Iterable[Any], policies: int) -> Gains:
    seen, mass, variance, *sums = (float(number) for number in told)
    if len(sums) != policies or not all(isfinite(number) for number in (seen, mass, variance, *sums)):
        raise ValueError("gains must be finite, one for each policy")
    if min(seen, mass, variance) < 0.0:
        raise ValueError("counts and variances must be at least 0")
    return Gains(seen, mass, variance, tuple(sums))
