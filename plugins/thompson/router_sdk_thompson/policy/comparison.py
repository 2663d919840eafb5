"""Which of the posteriors answers: the one whose favourites would have earned most, by task type.

Cells know an agent's record and nothing of the task; where texts and features say nothing of who is better, they are
the best there is. A posterior over words may predict rewards well and choose badly, so that it is not errors that are
compared but what each one's favourite would have earned (``router_sdk.numerics.policy_selection``).

Not every posterior has a say on every task. One that has none is booked what the others' mixture earned, so that it
neither gains nor loses (sleeping experts: Freund, Schapire, Singer and Warmuth, 1997).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.policy_selection import LEADING, PolicySelection, doubly_robust
from router_sdk_thompson.labels import SUCCESS
from router_sdk_thompson.posteriors.reward_scale import RewardScale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.numerics.policy_selection import PolicyWeights
    from router_sdk.plugin import Example
    from router_sdk_thompson.config import Labels
    from router_sdk_thompson.posteriors.beta import CellEvidence

POLICIES = ("cells", "text", "features", "linear")
"""The record by task type; words; features, with Fourier features where some are added; features without them."""
CELLS, TEXT, FEATURES, LINEAR = range(4)
TRUST = (0.05, 0.06, 0.27, 0.62)
"""What each is trusted with at first."""
TOLD = (0.01, 0.75, 0.07, 0.17)
"""The same where agents' examples say what texts are theirs."""
HARDLY = 0.02
"""Share below which one has no part in answers."""
ALL_COMPARED, EVERY = 2_000, 4
"""Outcomes on each of which they are compared; later on one in so many."""
GUESSED = 10.0
"""Outcomes that the mean of all rewards is worth in what is expected of an agent."""
MOST_GAIN = 5.0
"""Spreads that one outcome counts for at most: of rare rewards a single one must not decide who leads."""
LEAST_SPREAD = 0.1
"""Unit of gains, at least, where the rewards of all agents are known."""

Favourites = tuple[int, ...]
"""Place of each policy's favourite among the eligible agents; -1 for one that has no say."""


class Together(NamedTuple):
    """Observed rewards of several agents at one task: what each would have earned, once they are all known.

    Attributes:
        context: The text's feature ids or its embedding; None where there is only a feature dict.
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
    """What each policy's favourites would have earned, as far as the log tells.

    Args:
        labels: What a label says of the other agents.

    Attributes:
        selection: The policies' gains and weights, in units of the rewards' spread.
        scale: How large rewards are, and how far apart.
        again: Whether what was last asked about is of a task at which another agent was observed just before.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self.selection = PolicySelection(POLICIES, TRUST)
        self.scale = RewardScale()
        self._together: Together | None = None
        self._seen = 0
        self._heard: dict[str, set[int]] = {}
        self.again = False

    def told(self, *, examples: bool) -> None:
        """Note whether agents' examples say what texts are theirs."""
        self.selection.trust(TOLD if examples else TRUST)

    @property
    def weights(self) -> PolicyWeights:
        """Share of each policy, by task type."""
        return self.selection.weights

    def asks(self, example: Example, context: NDArray[Any] | None) -> bool:
        """Whether this outcome is one to compare by, so that the policies' favourites are wanted; asked of each once.

        Args:
            example: The outcome, not yet learnt.
            context: Its text's feature ids or embedding.
        """
        self.again = False
        if example.previous is not None or example.revision > 0 or len(example.eligible) < 2:
            return False
        labelled = example.signals.labelled and self._labels != "ignore"
        if example.propensity is None and not labelled:
            together = self._together
            self.again = together is not None and self._goes_on(together, example, context)
            if together is not None and not self.again:
                self._close(together)
            return example.reward is not None and example.agent is not None
        if self._together is not None:
            self._close(self._together)
        if not labelled and example.reward is None:
            return False
        self._seen += 1
        return self._seen <= ALL_COMPARED or zlib.crc32(example.decision_id.encode()) % EVERY == 0

    @property
    def observing(self) -> bool:
        """Whether favourites are known already, of a task at which one agent after the other was observed."""
        return self._together is not None

    def note(
        self,
        example: Example,
        context: NDArray[Any] | None,
        favourites: Favourites,
        expected: Sequence[float],
        others: float | None,
    ) -> None:
        """Take in an outcome that was asked for.

        Args:
            example: The outcome.
            context: Its text's feature ids or embedding.
            favourites: Of the policies, as they are before it is learnt.
            expected: What the record says of each eligible agent.
            others: What agents are presumed to earn where somebody else chose another one, and that one succeeded.
        """
        scale = self.scale.current
        if example.reward is not None:
            self.scale.note(None, example.reward, 1.0)
        names, reward, acted = example.eligible, example.reward, example.agent
        if example.signals.labelled and self._labels != "ignore":
            known = dict.fromkeys(names, 0.0)
            if example.label is not None:
                known[example.label] = 1.0
            if acted is not None and reward is not None:
                known[acted] = reward
            self._book(example.task_type, favourites, [known[name] for name in names], scale.spread)
        elif example.propensity is None:
            if self._together is None:
                self._together = Together(context, example.task_type, names, favourites, {}, others)
            self._together.rewards[str(acted)] = float(reward or 0.0)
        elif acted in names and reward is not None and example.propensity > 0.0:
            values = [0.0] * len(POLICIES)
            awake = [policy for policy, place in enumerate(favourites) if place >= 0]
            places = [favourites[policy] for policy in awake]
            gains = doubly_robust(expected, places, names.index(acted), reward, example.propensity)
            for policy, gain in zip(awake, gains, strict=True):
                values[policy] = gain
            self._note(example.task_type, awake, values, scale.spread)

    def _goes_on(self, together: Together, example: Example, context: NDArray[Any] | None) -> bool:
        if together.context is None or context is None or example.agent in together.rewards:
            return False
        return example.task_type == together.task_type and np.array_equal(context, together.context)

    def _close(self, together: Together) -> None:
        self._together = None
        rewards, presumed = together.rewards, together.others
        if len(rewards) == 1 and presumed is not None and max(rewards.values()) >= SUCCESS:
            rewards = dict.fromkeys(together.names, presumed) | rewards
        if all(name in rewards for name in together.names):
            values = [rewards[name] for name in together.names]
            self._book(together.task_type, together.favourites, values, max(float(np.std(values)), LEAST_SPREAD))

    def _book(self, task_type: str, favourites: Favourites, rewards: Sequence[float], unit: float) -> None:
        awake = [policy for policy, place in enumerate(favourites) if place >= 0]
        values = [rewards[place] if place >= 0 else 0.0 for place in favourites]
        self._note(task_type, awake, values, unit)

    def _note(self, task_type: str, awake: Sequence[int], values: list[float], unit: float) -> None:
        self._heard.setdefault(task_type, set()).update(awake)
        shares = shares_among(self.weights.of(task_type), awake)
        mean = sum(share * values[policy] for policy, share in shares.items())
        lead = [(values[policy] - mean) / unit if policy in shares else 0.0 for policy in range(len(POLICIES))]
        gains = [min(max(gain, -MOST_GAIN), MOST_GAIN) for gain in lead]
        self.selection.note(task_type, gains)

    def records(self, cells: CellEvidence, task_type: str, names: Sequence[str]) -> list[float]:
        """What each agent's record on a type of task lets expect, shrunk towards the mean of all rewards."""
        told, mean = cells.tally(task_type, names), self.scale.current.mean
        return [(GUESSED * mean + here.reward) / (GUESSED + here.mass) for here, _ in told]

    def report(self) -> dict[str, dict[str, float]]:
        """By task type, the share of each policy that has a say there."""
        told = {}
        for task_type, heard in sorted(self._heard.items()):
            shares = shares_among(self.weights.of(task_type), sorted(heard))
            told[task_type] = {POLICIES[policy]: round(share, 3) for policy, share in shares.items()}
        return told

    def forget_examples(self) -> None:
        """Drop the one context that is kept for a while; sums stay."""
        self._together = None

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as JSON values."""
        together = self._together
        told = None
        if together is not None:
            context = None if together.context is None else together.context.tolist()
            told = [context, *together[1:]]
        return {
            "selection": self.selection.state(),
            "scale": self.scale.state(),
            "seen": self._seen,
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
        self.scale = RewardScale.restored(state["scale"])
        self._seen = int(state["seen"])
        self._heard = {str(name): {int(each) for each in heard} for name, heard in dict(state["heard"]).items()}
        if not all(heard <= set(range(len(POLICIES))) for heard in self._heard.values()):
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


def shares_among(weights: Sequence[float], awake: Sequence[int]) -> dict[int, float]:
    """Share of each policy that has a say, the best one's at least half; who would have hardly any has none."""
    total = sum(weights[policy] for policy in awake)
    shares = {policy: weights[policy] / total for policy in awake}
    leader = max(shares, key=shares.__getitem__)
    kept = {policy: share for policy, share in shares.items() if share >= HARDLY or policy == leader}
    rest = sum(kept.values()) - kept[leader]
    most = max(LEADING, 1.0 - rest)
    scale = (1.0 - most) / rest if rest else 0.0
    return {policy: most if policy == leader else scale * share for policy, share in kept.items()}
