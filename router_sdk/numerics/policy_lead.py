"""Which of several policies leads, where one of them decides: the first, until another one is clearly ahead of it.

Where all policies prefer the same, nothing is at stake, so that only decisions at which they differ count. At those the
reward of each policy's favourite is estimated from the times when it acted, weighed by inverse propensity and
self-normalised (Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", 2015), with the
effective sample size (Kish, 1965) for its standard error. An unbiased estimate would add one over a small propensity
where a rare draw succeeds, and nothing where it is not made: whoever decides is sure of most choices, so that a few
draws would drown what its successes and failures say at every other decision.

All of it fades, so that a policy that learns slowly and ends well is judged by how well it does now. One whose
favourites hardly ever act leads now and then, since by the sure choices of another nothing comes to be known of it: the
more often, the more the first leaves to be earned, and in all as often as the root of what is known of that one. A kind
of task of which little is known borrows differences from the others.
"""

from __future__ import annotations

from collections import OrderedDict
from math import exp, isfinite, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.numerics.recency import crowded, put_last

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_RATIO = 4.0
"""Most that one over a propensity counts: what it takes off the variance is worth its bias."""
KEPT = 0.99
"""What is left of a sum at each further term."""
LEFT = 0.995
"""What is left of one that gets none, at each decision that counts: who hardly ever acts is looked at again."""
GUESSED = 1.0
"""Precision of the guess that policies earn the same, as of two rewards of each."""
BORROWED = 5.0
"""Most precision that the other kinds together are worth in what one of them decides."""
ERRORS = 1.5
"""Standard errors by which another policy must be ahead of the first."""
WANTED = 1.0
"""Rewards that are wanted of another policy's favourites, for each that the first leaves to be earned: times the root
of how many are known of the first."""
DUE = 0.2
"""Log odds, at least, of one of which more is wanted."""
LEAST_SPREAD = 0.01
"""Spread of the rewards, at least."""
LOGISTIC = 1.702
"""Slope at which a logistic curve is nearest to the normal distribution (Haley, 1952)."""


class Sums(NamedTuple):
    """Faded sums over rewards: their weights, the squares of these, and the weighed rewards."""

    weight: float = 0.0
    squares: float = 0.0
    earned: float = 0.0

    @property
    def size(self) -> float:
        """Rewards of equal weight that would say as much."""
        return self.weight * self.weight / self.squares if self.squares > 0.0 else 0.0

    @property
    def mean(self) -> float:
        """Of the rewards; 0 where there are none."""
        return self.earned / self.weight if self.weight > 0.0 else 0.0

    def plus(self, weight: float, reward: float) -> Sums:
        """The same with one reward more."""
        return Sums(
            KEPT * self.weight + weight, KEPT**2 * self.squares + weight**2, KEPT * self.earned + weight * reward
        )

    def faded(self) -> Sums:
        """The same where others got a reward."""
        return Sums(LEFT * self.weight, LEFT * self.squares, LEFT * self.earned)


class Ahead(NamedTuple):
    """How far a policy is ahead of the first, in spreads of the rewards, and the precision of that.

    Attributes:
        precision: One over the variance, at a spread of 1.
        weighed: The difference, times the precision.
        missing: Rewards of its favourites that are still wanted, where decisions of one kind are meant.
    """

    precision: float = 0.0
    weighed: float = 0.0
    missing: float = 0.0

    def plus(self, other: Ahead, times: float = 1.0) -> Ahead:
        """With what other decisions say as well (inverse-variance weighting)."""
        return Ahead(self.precision + times * other.precision, self.weighed + times * other.weighed)

    def log_odds(self) -> float:
        """That it is the better one, less what counts against it."""
        precision = self.precision + GUESSED
        return LOGISTIC * (self.weighed / sqrt(precision) - ERRORS)


class Earned(NamedTuple):
    """What came of decisions of one kind at which policies differed.

    Attributes:
        rewards: Their faded number, the sum of their squares, and their sum.
        policies: Of the favourites of each policy.
    """

    rewards: tuple[float, float, float]
    policies: tuple[Sums, ...]

    def plus(self, reward: float, policies: tuple[Sums, ...]) -> Earned:
        """The same with one decision more."""
        number, squares, total = self.rewards
        return Earned((KEPT * number + 1.0, KEPT * squares + reward**2, KEPT * total + reward), policies)

    def ahead(self) -> tuple[Ahead, ...]:
        """Of each policy but the first."""
        number, squares, total = self.rewards
        first = self.policies[0]
        if number <= 0.0 or first.size <= 0.0:
            return (Ahead(),) * (len(self.policies) - 1)
        spread = max(sqrt(max(squares / number - (total / number) ** 2, 0.0)), LEAST_SPREAD)
        told = []
        for one in self.policies[1:]:
            precision = first.size * one.size / (first.size + one.size)
            wanted = WANTED * (1.0 - first.mean) * sqrt(first.size)
            told.append(Ahead(precision, precision * (one.mean - first.mean) / spread, max(wanted - one.size, 0.0)))
        return tuple(told)


class PolicyLead:
    """What each policy's share is, by kind of task, at one moment; never changed, only replaced.

    Args:
        kinds: How far each policy but the first is ahead, by kind.
        overall: The same, summed over all kinds.
    """

    def __init__(self, kinds: Mapping[str, Sequence[Ahead]], overall: Sequence[Ahead]) -> None:
        self._kinds, self._overall = kinds, overall
        self._known: dict[str, tuple[float, ...]] = {}

    def of(self, kind: str) -> tuple[float, ...]:
        """Share of each policy, summing to 1: who has most leads.

        Of two, the odds are those of a normal distribution around the estimated difference, and even where the lead
        changes: ``ERRORS`` counts against all but the first, and one of which more is wanted has just above even odds.
        """
        known = self._known.get(kind)
        if known is None:
            known = self._shares(self._kinds.get(kind))
            if kind in self._kinds or not kind:
                self._known[kind] = known
        return known

    def _shares(self, of_kind: Sequence[Ahead] | None) -> tuple[float, ...]:
        odds = [0.0]
        for own, overall in zip(of_kind or (Ahead(),) * len(self._overall), self._overall, strict=True):
            others = overall.plus(own, -1.0)
            times = BORROWED / max(others.precision, BORROWED)
            found = own.plus(others, times).log_odds()
            odds.append(max(found, DUE) if own.missing > times * others.precision else found)
        grown = [exp(each - max(odds)) for each in odds]
        return tuple(each / sum(grown) for each in grown)


class LeadComparison:
    """Policies, compared decision by decision; one thread at a time changes it.

    Args:
        policies: Their names; the first leads until another one is ahead.
    """

    def __init__(self, policies: Sequence[str]) -> None:
        self.policies = tuple(policies)
        self._none = Earned((0.0, 0.0, 0.0), (Sums(),) * len(self.policies))
        self._earned: OrderedDict[str, Earned] = OrderedDict()
        self._kinds: dict[str, tuple[Ahead, ...]] = {}
        self._overall = self._none.ahead()
        self._current: PolicyLead | None = None

    @property
    def lead(self) -> PolicyLead:
        """What follows from all that was seen so far."""
        if self._current is None:
            self._current = PolicyLead(dict(self._kinds), self._overall)
        return self._current

    def note(self, kind: str, favourites: Sequence[str | None], known: Mapping[str, float], propensity: float) -> None:
        """Take in a decision; one at which all policies prefer the same counts nothing.

        Args:
            kind: Of the task.
            favourites: Whom each policy preferred; None of one that had no answer.
            known: What came of it, in [0, 1], by who acted; by label, of everybody.
            propensity: Probability, above 0, with which it came to be known.
        """
        if not known or len({name for name in favourites if name is not None}) < 2:
            return
        weight = min(1.0 / propensity, MOST_RATIO)
        before = self._earned.get(kind, self._none)
        sums = tuple(
            one.faded() if name is None or name not in known else one.plus(weight, known[name])
            for name, one in zip(favourites, before.policies, strict=True)
        )
        after = before.plus(sum(known.values()) / len(known), sums)
        replaced = self._kinds.pop(kind, self._none.ahead())
        if crowded(self._earned, (kind,)):  # of this kind nothing is known, and another one makes room for it
            replaced = self._kinds.pop(next(iter(self._earned)))
        put_last(self._earned, kind, after)
        self._kinds[kind] = after.ahead()
        self._overall = tuple(
            whole.plus(old, -1.0).plus(new)
            for whole, old, new in zip(self._overall, replaced, self._kinds[kind], strict=True)
        )
        self._current = None

    def report(self) -> dict[str, dict[str, float]]:
        """Share of each policy by kind, and under ``""`` what a new kind begins with."""
        told = {kind: zip(self.policies, self.lead.of(kind), strict=True) for kind in ("", *sorted(self._kinds))}
        return {kind: {name: round(share, 3) for name, share in shares} for kind, shares in told.items()}

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as JSON values."""
        kinds = {kind: [list(one.rewards), *map(list, one.policies)] for kind, one in self._earned.items()}
        return {"policies": list(self.policies), "kinds": kinds, "overall": [list(one) for one in self._overall]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave.

        Raises:
            ValueError: if it is of other policies, or a number is not finite or, of those that count, negative.
            KeyError: if something is missing.
            TypeError: if it is not of that form.
        """
        if tuple(state["policies"]) != self.policies:
            raise ValueError(f"rewards of {state['policies']}, where {list(self.policies)} are compared")
        earned = OrderedDict((str(kind), self._read(told)) for kind, told in dict(state["kinds"]).items())
        overall = tuple(Ahead(*map(float, one)) for one in state["overall"])
        if len(overall) != len(self._overall) or not all(isfinite(number) for one in overall for number in one):
            raise ValueError("how far policies are ahead must be finite, for each but the first")
        self._earned, self._overall, self._current = earned, overall, None
        self._kinds = {kind: one.ahead() for kind, one in earned.items()}

    def _read(self, told: Iterable[Iterable[Any]]) -> Earned:
        rows = [[float(number) for number in row] for row in told]
        if len(rows) != 1 + len(self.policies) or any(len(row) != 3 for row in rows):
            raise ValueError("sums must be three of all rewards and three for each policy")
        if not all(isfinite(number) and number >= 0.0 for row in rows for number in row):
            raise ValueError("sums must be finite and at least 0")
        (number, squares, total), *policies = rows
        return Earned((number, squares, total), tuple(Sums(*row) for row in policies))
