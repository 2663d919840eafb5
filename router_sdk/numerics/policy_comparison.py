"""What each of several policies would have earned, gathered from outcomes of every sort, and who answers therefore.

A decision that was logged with its propensity says it by a doubly robust estimate, a label outright, and so do rewards
of one agent after the other at the same task (``policy_selection`` weighs what comes of it). What one outcome counts
may be measured in the spread of the rewards and bounded, so that grades from .7 to .9 tell as much as successes, and of
rare successes a single one does not decide; or in rewards, where it takes the more outcomes to overrule what each
policy is trusted with at first, the rarer successes are, as among many agents.

What the estimate's regression expects of an agent was learnt where that agent was chosen, mostly with reason: it is too
much of one that nobody else would choose here. So it is corrected by what came, on top of it, of agents whom the same
policies preferred, weighted by inverse propensity and self-normalised (Swaminathan and Joachims, 2015).

Not every policy has a say on every task. One that has none is booked what the others' mixture earned, so that it
neither gains nor loses (sleeping experts: Freund, Schapire, Singer and Warmuth, 1997).
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from router_sdk.numerics.feedback_kind import SUCCESS, FeedbackKind
from router_sdk.numerics.policy_selection import LEADING, MOST_RATIO, PolicySelection, doubly_robust
from router_sdk.numerics.recency import put_last
from router_sdk.numerics.reward_scale import RewardScale

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.numerics.policy_selection import PolicyWeights

HARDLY = 0.02
"""Share below which a policy has no part in answers."""
ALL_COMPARED, EVERY = 2_000, 4
"""Outcomes on each of which policies are compared; later on one in so many."""
MOST_GAIN = 5.0
"""Spreads that one outcome counts for at most."""
GUESSED = 10.0
"""Weight that the regression is worth, as it is, in what agents earn whom the same policies prefer."""
KEPT = 0.998
"""What is left of that record at each further outcome."""
LEAST_SPREAD = 0.1
"""Unit of gains, at least, where the rewards of all agents are known."""

Favourites = tuple[int, ...]
"""Place of each policy's favourite among the eligible agents; -1 for one that has no say."""


class Told(Protocol):
    """What is read of an outcome: an ``Example``, or whatever a strategy makes of one."""

    @property
    def decision_id(self) -> str:
        """Which decision."""

    @property
    def task_type(self) -> str:
        """The task's type."""

    @property
    def eligible(self) -> tuple[str, ...]:
        """Who could have been chosen."""

    @property
    def agent(self) -> str | None:
        """Who acted."""

    @property
    def reward(self) -> float | None:
        """What came of it, in [0, 1]."""

    @property
    def propensity(self) -> float | None:
        """Probability with which ``agent`` was chosen; None where somebody else chose."""

    @property
    def labelled(self) -> bool:
        """Whether it is known who would have been right."""

    @property
    def label(self) -> str | None:
        """Who; with ``labelled``, None for nobody."""


class Together(NamedTuple):
    """Observed rewards of several agents at one task: what each would have earned, once they are all known.

    Attributes:
        context: What tells the task from others, such as its vector; None where nothing does.
        task_type: The task's type.
        names: The eligible agents.
        favourites: Places of the policies' favourites, before any of it was learnt.
        rewards: Known so far, by agent.
        others: What the others are presumed to earn where only one was observed, and succeeded; None where nothing is.
    """

    context: NDArray[Any] | None
    task_type: str
    names: tuple[str, ...]
    favourites: Favourites
    rewards: dict[str, float]
    others: float | None


class PolicyComparison:
    """Policies, compared outcome by outcome; one thread at a time changes it.

    Args:
        policies: Their names.
        prior: What each is trusted with before anything was seen, summing to 1.
        labels: Whether labels count.
        in_spreads: Whether gains are measured in the rewards' spread, and bounded.
        every: After ``ALL_COMPARED`` outcomes one in so many is compared by.
        cautious: As ``PolicySelection`` takes it.

    Attributes:
        selection: The policies' gains and weights.
        feedback: Whether one agent is right, or several.
        scale: How large rewards are, and how far apart.
        again: Whether what was last asked about is of a task at which another agent was observed just before.
    """

    def __init__(
        self,
        policies: Sequence[str],
        prior: Sequence[float],
        *,
        labels: bool = True,
        in_spreads: bool = True,
        every: int = EVERY,
        cautious: bool = False,
    ) -> None:
        self._labels, self._in_spreads, self._every = labels, in_spreads, every
        self.selection = PolicySelection(policies, prior, cautious=cautious)
        self.feedback = FeedbackKind()
        self.scale = RewardScale()
        self.again = False
        self._together: Together | None = None
        self._seen = 0
        self._earned: dict[str, tuple[float, float]] = {}
        self._heard: OrderedDict[str, set[int]] = OrderedDict()

    @property
    def weights(self) -> PolicyWeights:
        """Share of each policy, by task type."""
        return self.selection.weights

    @property
    def observing(self) -> bool:
        """Whether favourites are known already, of a task at which one agent after the other was observed."""
        return self._together is not None

    def asks(self, told: Told, context: NDArray[Any] | None, *, new: bool) -> bool:
        """Whether this outcome is one to compare by, so that the policies' favourites are wanted; asked of each once.

        Args:
            told: The outcome, not yet learnt.
            context: What tells its task from others.
            new: Whether nothing was known of the decision before; only then it compares anybody.
        """
        self.again = False
        if not new or len(told.eligible) < 2:
            return False
        labelled = told.labelled and self._labels
        if told.propensity is None and not labelled:
            together = self._together
            self.again = together is not None and _goes_on(together, told, context)
            if together is not None and not self.again:
                self._close(together)
            return told.reward is not None and told.agent is not None
        if self._together is not None:
            self._close(self._together)
        if told.reward is not None and told.propensity:
            self.feedback.note(len(told.eligible), told.propensity, told.reward)
        if not labelled and told.reward is None:
            return False
        return self._due(told.decision_id)

    def _due(self, decision_id: str) -> bool:
        """Whether this outcome is compared by; asked of each once."""
        self._seen += 1
        return self._seen <= ALL_COMPARED or zlib.crc32(decision_id.encode()) % self._every == 0

    def ask_first(
        self,
        decision_ids: Sequence[str],
        eligible: Sequence[Sequence[str]],
        propensities: Sequence[float],
        rewards: Sequence[float | None],
        *,
        presumed: bool = False,
    ) -> tuple[list[int], list[float | None]]:
        """``asks`` of many outcomes in a row that the router decided: new ones that name nobody.

        They are answered together, before any of them is noted, since none of the answers hangs on that.

        Returns:
            Places of those that are asked for; and of each, what ``feedback.others`` says once it is known.
        """
        asked, others, feedback = [], [], self.feedback
        self.again = False
        rate = feedback.others(presumed=presumed)
        for place, (names, propensity, reward) in enumerate(zip(eligible, propensities, rewards, strict=True)):
            if len(names) > 1:
                if self._together is not None:
                    self._close(self._together)
                    rate = feedback.others(presumed=presumed)
                if reward is not None:
                    if propensity and feedback.note(len(names), propensity, reward):
                        rate = feedback.others(presumed=presumed)
                    if self._due(decision_ids[place]):
                        asked.append(place)
            others.append(rate)
        return asked, others

    def note(
        self,
        told: Told,
        context: NDArray[Any] | None,
        favourites: Favourites,
        expected: Sequence[float],
        others: float | None = None,
    ) -> None:
        """Take in an outcome that was asked for.

        Args:
            told: The outcome.
            context: What tells its task from others.
            favourites: Of the policies, as they are before it is learnt; not looked at where there is an ``observing``.
            expected: Reward that a regression expects of each eligible agent.
            others: What agents are presumed to earn where somebody else chose another one, and that one succeeded.
        """
        scale = self.scale.current
        if told.reward is not None:
            self.scale.note(None, told.reward, 1.0)
        names, reward, acted = told.eligible, told.reward, told.agent
        if told.labelled and self._labels:
            known = dict.fromkeys(names, 0.0)
            if told.label is not None:
                known[told.label] = 1.0
            if acted is not None and reward is not None:
                known[acted] = reward
            self._book(told.task_type, favourites, [known[name] for name in names], scale.spread)
        elif told.propensity is None:
            if self._together is None:
                self._together = Together(context, told.task_type, names, favourites, {}, others)
            self._together.rewards[str(acted)] = float(reward or 0.0)
        elif acted in names and reward is not None and told.propensity > 0.0:
            place, regressed = names.index(acted), list(expected)
            who = {each: _who(favourites, each) for each in {place, *favourites} - {-1}}
            for each, those in who.items():
                mass, more = self._earned.get(those, (0.0, 0.0))
                regressed[each] += more / (GUESSED + mass)
            places = [max(each, 0) for each in favourites]
            earned = doubly_robust(regressed, places, place, reward, told.propensity)
            self._note(told.task_type, favourites, earned, scale.spread)
            self._remember(who[place], reward - expected[place], 1.0 / told.propensity)

    def _remember(self, who: str, more: float, ratio: float) -> None:
        """Take in what an agent earned, on top of what was expected of it."""
        weight = min(ratio, MOST_RATIO)
        mass, earned = self._earned.get(who, (0.0, 0.0))
        self._earned[who] = KEPT * mass + weight, KEPT * earned + weight * more

    def _close(self, together: Together) -> None:
        """Compare by what was observed at one task, where that is all that is needed."""
        self._together = None
        names, rewards, presumed = together.names, together.rewards, together.others
        if all(name in rewards for name in names):
            self.feedback.note_all([rewards[name] for name in names])
        elif len(rewards) == 1 and presumed is not None and max(rewards.values()) >= SUCCESS:
            rewards = dict.fromkeys(names, presumed) | rewards
        if len(rewards) > 1 and all(names[place] in rewards for place in together.favourites if place >= 0):
            unit = max(float(np.std(list(rewards.values()))), LEAST_SPREAD)
            self._book(together.task_type, together.favourites, [rewards.get(name, 0.0) for name in names], unit)

    def _book(self, task_type: str, favourites: Favourites, rewards: Sequence[float], unit: float) -> None:
        """Take in what each agent would have earned."""
        self._note(task_type, favourites, [rewards[max(place, 0)] for place in favourites], unit)

    def _note(self, task_type: str, favourites: Favourites, earned: Sequence[float], unit: float) -> None:
        awake = [policy for policy, place in enumerate(favourites) if place >= 0]
        put_last(self._heard, task_type, self._heard.get(task_type, set()).union(awake))
        shares = shares_among(self.weights.of(task_type), tuple(awake))
        mean = sum(share * earned[policy] for policy, share in shares.items())
        lead = [gain - mean if place >= 0 else 0.0 for place, gain in zip(favourites, earned, strict=True)]
        if self._in_spreads:
            lead = [_within(gain / unit, MOST_GAIN) for gain in lead]
        self.selection.note(task_type, lead)

    def report(self, asleep: Collection[int] = ()) -> dict[str, dict[str, float]]:
        """By task type, the share of each policy that has a say there; under ``""`` what a new type begins with.

        Args:
            asleep: Those that have none anywhere, as things stand; at least one other has some.
        """
        told, everybody = {}, range(len(self.selection.policies))
        for task_type, heard in [("", set(everybody)), *sorted(self._heard.items())]:
            awake = sorted(heard.difference(asleep))
            if not awake:
                continue
            shares = shares_among(self.weights.of(task_type), tuple(awake))
            told[task_type] = {self.selection.policies[policy]: round(share, 3) for policy, share in shares.items()}
        return told

    def forget_examples(self) -> None:
        """Drop the one context that is kept for a while; sums stay."""
        self._together = None

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as JSON values."""
        told, together = None, self._together
        if together is not None:
            told = [None if together.context is None else together.context.tolist(), *together[1:]]
        return {
            "selection": self.selection.state(),
            "feedback": self.feedback.state(),
            "scale": self.scale.state(),
            "seen": self._seen,
            "earned": {who: list(sums) for who, sums in self._earned.items()},
            "heard": {task_type: sorted(heard) for task_type, heard in self._heard.items()},
            "together": told,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave.

        Raises:
            ValueError: if a number is out of range.
            KeyError: if something is missing.
            TypeError: if it is not of that form.
        """
        self.selection.restore(state["selection"])
        self.feedback.restore(state["feedback"])
        self.scale = RewardScale.restored(state["scale"])
        self._seen = int(state["seen"])
        earned = dict(state.get("earned", {}))  # what earlier versions wrote has none
        self._earned = {str(who): (float(mass), float(more)) for who, (mass, more) in earned.items()}
        if not all(isfinite(mass) and mass >= 0.0 and isfinite(more) for mass, more in self._earned.values()):
            raise ValueError("what was earned must be finite, and its weight at least 0")
        told_of = dict(state["heard"]).items()
        self._heard = OrderedDict((str(name), {int(each) for each in heard}) for name, heard in told_of)
        if not all(heard <= set(range(len(self.selection.policies))) for heard in self._heard.values()):
            raise ValueError("policies are out of range")
        self._together = None
        if (told := state["together"]) is not None:
            context, task_type, names, favourites, rewards, others = told
            self._together = Together(
                None if context is None else np.asarray(context),
                str(task_type),
                tuple(map(str, names)),
                tuple(int(place) for place in favourites),
                {str(name): float(reward) for name, reward in dict(rewards).items()},
                None if others is None else float(others),
            )
            if not all(-1 <= place < len(names) for place in self._together.favourites):
                raise ValueError("favourites are out of range")


def _within(number: float, most: float) -> float:
    return -most if number < -most else most if number > most else number


def _who(favourites: Favourites, place: int) -> str:
    """Which policies prefer an agent: a character for each."""
    return "".join(["1" if each == place else "0" for each in favourites])


def _goes_on(together: Together, told: Told, context: NDArray[Any] | None) -> bool:
    if together.context is None or context is None or told.agent in together.rewards:
        return False
    return told.task_type == together.task_type and np.array_equal(context, together.context)


@lru_cache
def shares_among(weights: tuple[float, ...], awake: tuple[int, ...] | range) -> Mapping[int, float]:
    """Share of each policy that has a say, the best one's at least half; who would have hardly any has none.

    Remembered, since many requests ask between two outcomes.
    """
    total = sum(weights[policy] for policy in awake)
    shares = {policy: weights[policy] / total for policy in awake}
    leader = max(shares, key=shares.__getitem__)
    kept = {policy: share for policy, share in shares.items() if share >= HARDLY or policy == leader}
    rest = sum(kept.values()) - kept[leader]
    most = max(LEADING, 1.0 - rest)
    scale = (1.0 - most) / rest if rest else 0.0
    return {policy: most if policy == leader else scale * share for policy, share in kept.items()}
