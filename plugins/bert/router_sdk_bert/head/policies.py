"""What of several ways to choose answers: classifier, linear posterior, the best single agent, or elimination.

The classifier (logistic regression and neighbours) needs few examples and leads where one agent is right. The linear
posterior takes rewards as they are. The best single agent knows no texts. Elimination finds out whose a text is where
agents are many, or one has most of the traffic; it has a say only where one agent is right. Each is right for another
kind of feedback, and which one comes is found out: by what each one's favourites would have earned
(``numerics.policy_comparison``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from router_sdk.numerics.feedback_kind import SUCCESS
from router_sdk.numerics.policy_comparison import PolicyComparison, shares_among
from router_sdk.numerics.policy_selection import CALM
from router_sdk.numerics.shared_draw import shared_draw
from router_sdk.numerics.state_file import load_state, write_state
from router_sdk_bert.head.best_single import NONE, BestSingle, means_of
from router_sdk_bert.head.elimination import by_elimination
from router_sdk_bert.head.estimates import Choice, choice_probabilities
from router_sdk_bert.head.linear import CLEAR, NOISY, LinearPosterior, Reward

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.numerics.policy_selection import PolicyWeights
    from router_sdk.plugin import Agent, RequestEncoder
    from router_sdk_bert.head.best_single import Sums
    from router_sdk_bert.head.elimination import Left
    from router_sdk_bert.head.estimates import Estimate
    from router_sdk_bert.head.head import AnySnapshot
    from router_sdk_bert.head.linear import LinearBeliefs
    from router_sdk_bert.head.rows import Row

    Judge = Callable[[NDArray[np.float32], tuple[str, ...]], Estimate | None]
    Stored = Callable[[], Iterable[tuple[list[Reward], NDArray[np.float32]]]]

POLICIES = ("classifier", "linear", "best_single", "elimination")
CLASSIFIER, LINEAR, BEST_SINGLE, ELIMINATION = 0, 1, 2, 3
ALONE = (1.0, 0.0, 0.0, 0.0)
COLD, DESCRIBED, SHOWN = (0.25, 0.25, 0.3, 0.2), (0.55, 0.15, 0.15, 0.15), (0.95, 0.02, 0.01, 0.02)
"""What each is trusted with at first: where nothing is known, where agents are described, which only the classifier
reads, and where examples or labels show what is theirs."""
FEW = 9
"""Agents of which one may well be the best at everything, and of whom outcomes tell a classifier soon enough; where
there are more, it is elimination that tries them all, or the linear posterior where several succeed."""
CALM_PER_AGENT = 0.6
"""Variance of gains that is assumed for each agent: the more there are, the later gains say who learns best."""
CALM_WHERE_SHOWN = 20.0
"""The same at least where examples or labels speak for the classifier: a few outcomes are no match for them."""
LABELS = 10
"""Labels of somebody else's decisions from which they show that."""
OTHERS, OTHERS_WEIGHT, LIKELY = 8, 0.3, 0.3
"""Where one agent is right: of how many others that expect to be, with more than ``LIKELY``, a success says that they
are not, and what that counts for."""
STEM = "policies"


class PolicySnapshot(NamedTuple):
    """What requests read.

    Attributes:
        weights: Share of each policy, by task type.
        linear: The linear posterior, or None before the first outcome.
        sums: What agents earn whatever the text says.
        exclusive: Whether exactly one agent is taken to be right.
    """

    weights: PolicyWeights
    linear: LinearBeliefs | None
    sums: Mapping[str, Mapping[str, Sums]]
    exclusive: bool

    def choose(
        self,
        estimates: Sequence[Estimate],
        vectors: Sequence[NDArray[np.float32]],
        names: tuple[str, ...],
        task_types: Sequence[str],
    ) -> list[Choice]:
        """The policies' mixture at each of several tasks.

        Args:
            estimates: The classifier's.
            vectors: The tasks' embeddings.
            names: The agents in question.
            task_types: Of the tasks.
        """
        tasks = list(zip(estimates, task_types, strict=True))
        shares = [self._shares(estimate, task_type) for estimate, task_type in tasks]
        asking = [place for place, among in enumerate(shares) if LINEAR in among]
        told = [] if self.linear is None else self.linear.scores(names, [vectors[place] for place in asking])
        beliefs = dict(zip(asking, told, strict=self.linear is not None))
        return [
            self._mixed(estimate, among, beliefs.get(place), names, task_type)
            for place, ((estimate, task_type), among) in enumerate(zip(tasks, shares, strict=True))
        ]

    def _shares(self, estimate: Estimate, task_type: str) -> Mapping[int, float]:
        weights = self.weights.of(task_type) if self.linear is not None else ALONE  # the others know nothing yet
        eliminates = self.exclusive and estimate.codes is not None
        return shares_among(weights, range(len(POLICIES) if eliminates else ELIMINATION))

    def _mixed(
        self,
        estimate: Estimate,
        shares: Mapping[int, float],
        linear: tuple[list[float], list[float]] | None,
        names: tuple[str, ...],
        task_type: str,
    ) -> Choice:
        mixed, scores = [0.0] * len(names), [0.0] * len(names)
        for policy, share in shares.items():
            if policy == CLASSIFIER:
                means = estimate.chances.tolist()
                given = choice_probabilities(estimate.odds, estimate.doubt)
            elif policy == ELIMINATION:
                left = left_over(estimate, names, self.sums)
                means, given = left.chances.tolist(), choice_probabilities(left.weights, np.zeros(len(names)))
            else:
                means, widths = linear if policy == LINEAR and linear else means_of(self.sums, names, task_type)
                given = shared_draw(means, widths)
            mixed = [old + share * chance for old, chance in zip(mixed, given, strict=True)]
            scores = [old + share * mean for old, mean in zip(scores, means, strict=True)]
        leader = max(shares, key=shares.__getitem__)
        return Choice(mixed, scores, POLICIES[leader], {POLICIES[policy]: share for policy, share in shares.items()})


def left_over(estimate: Estimate, names: Sequence[str], sums: Mapping[str, Mapping[str, Sums]]) -> Left:
    """What ``by_elimination`` comes to where neighbours were found."""
    found, codes, everywhere = estimate.neighbours, estimate.codes, sums[""]
    assert found is not None
    assert codes is not None
    return by_elimination(found, codes, [everywhere.get(name, NONE)[1] for name in names])


class Published(NamedTuple):
    """All that requests read, swapped by one assignment."""

    reader: RequestEncoder
    snapshot: AnySnapshot
    policies: PolicySnapshot


class Policies:
    """Everything learnt beside the classifier; one thread at a time changes it.

    Args:
        labels: What a label says of the other agents, or ``"auto"``.

    Attributes:
        comparison: What each policy's favourites would have earned, and whether one agent is right, or several.
        linear: The linear posterior.
        best_single: What agents earn whatever the text says.
    """

    def __init__(self, labels: Literal["auto", "exclusive", "independent"]) -> None:
        self._kind = labels
        self.comparison = PolicyComparison(POLICIES, COLD, in_spreads=False)
        self.linear = LinearPosterior(CLEAR if self.exclusive else NOISY)
        self.best_single = BestSingle()
        self._labels = 0.0
        self._said, self._calm = COLD, CALM
        self._trust()

    @property
    def exclusive(self) -> bool:
        """Whether exactly one agent is taken to be right."""
        return self.comparison.feedback.exclusive if self._kind == "auto" else self._kind == "exclusive"

    def prepare(self, agents: Iterable[Agent], *, trained: bool = False) -> None:
        """Read whether the agents say what they can do, or the encoder was trained to tell them apart."""
        told = list(agents)
        described = any(agent.description or agent.capabilities for agent in told)
        said = SHOWN if trained or any(agent.examples for agent in told) else DESCRIBED if described else COLD
        few = min(1.0, FEW / max(len(told), 1))
        classifier, one_for_all = said[CLASSIFIER] * (few**2 if said is COLD else 1.0), said[BEST_SINGLE] * few**2
        linear = said[LINEAR] * few
        self._said = classifier, linear, one_for_all, 1.0 - classifier - linear - one_for_all
        self._calm = max(CALM, CALM_PER_AGENT * len(told))
        self._trust()

    def _trust(self) -> None:
        said = SHOWN if self._labels >= LABELS else self._said
        self.comparison.selection.trust(
            said, max(self._calm, CALM_WHERE_SHOWN) if said[CLASSIFIER] >= SHOWN[CLASSIFIER] else self._calm
        )

    def learn(self, row: Row, judge: Judge, stored: Stored = tuple) -> None:
        """Take in one revision: compare the policies on what is new, then teach them.

        Args:
            row: What happened.
            judge: The classifier's estimate, as of now, of a vector for some agents.
            stored: Earlier outcomes that are stored, oldest first, for a posterior that begins anew.
        """
        rewards = rewards_of(row)
        if row.before is None and row.labelled and row.propensity is None:
            # They compare nobody: where they come agent by agent, who learns at once would seem to know.
            self._labels += 1.0
            self._trust()
        elif self.comparison.asks(row, row.vector, new=row.before is None):
            self._compare(row, judge)
        ridge = CLEAR if self.exclusive else NOISY
        if ridge != self.linear.ridge:  # Another kind of feedback than it was begun for.
            self.linear = LinearPosterior(ridge)
            for told, vector in stored():
                self.linear.learn(told, vector)
        self.linear.learn(rewards, row.vector)
        self.best_single.learn(row.task_type, rewards)
        if row.before is None and self.exclusive:
            self._teach_others(row)

    def _compare(self, row: Row, judge: Judge) -> None:
        """Ask each policy for its favourite, before it learns from the outcome."""
        comparison, names = self.comparison, row.eligible
        expected, _ = means_of(self.best_single.sums, names, row.task_type)
        favourites: tuple[int, ...] = ()
        if not comparison.observing:
            estimate, linear = judge(row.vector, names), self.linear.expected(names, row.vector)
            classifier = eliminated = -1
            if estimate is not None:
                classifier = int(np.argmax(estimate.odds))
                if self.exclusive and estimate.codes is not None:
                    left = left_over(estimate, names, self.best_single.sums)
                    # Whom it but tries says nothing of how good it is: that shows where the text comes again.
                    eliminated = left.favourite if left.named else -1
            favourites = classifier, linear.index(max(linear)), expected.index(max(expected)), eliminated
        comparison.note(row, row.vector, favourites, expected)

    def _teach_others(self, row: Row) -> None:
        """Where one agent is right, tell the likeliest others that this task is not theirs."""
        right = row.label if row.labelled else row.agent
        success = 1.0 if row.labelled else row.reward or 0.0
        if right is None or success < SUCCESS:
            return
        others = [name for name in row.eligible if name not in (right, row.agent)]
        expected = self.linear.expected(others, row.vector)
        likely = sorted((-value, name) for value, name in zip(expected, others, strict=True) if value > LIKELY)
        told = [Reward(name, None, 0.0) for _, name in likely[:OTHERS]]
        self.linear.learn(told, row.vector, OTHERS_WEIGHT * success)

    def changed(self, agents: Collection[str], kept: float) -> None:
        """Agents turned out to have changed: what is known of each is to count for at most ``kept`` outcomes."""
        if agents:
            self.linear.changed(agents, kept)
            self.best_single.changed(agents, kept)

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of these agents."""
        self.linear.forget(names)
        self.best_single.forget(names)
        self.comparison.forget_examples()

    def forget_examples(self) -> None:
        """Drop the one vector that is kept for a while; sums stay."""
        self.comparison.forget_examples()

    def publish(self) -> PolicySnapshot:
        """What requests read of it."""
        return PolicySnapshot(self.comparison.weights, self.linear.publish(), self.best_single.sums, self.exclusive)

    def report(self) -> dict[str, Any]:
        """Which policy answers where, and what kind of feedback comes."""
        kind = "one agent is right" if self.exclusive else "agents succeed each for itself"
        asleep = () if self.exclusive else (ELIMINATION,)
        return {"policies": self.comparison.report(asleep), "feedback": kind}

    def save(self, folder: Path) -> None:
        """Write everything that ``load`` needs."""
        names, arrays = self.linear.arrays()
        facts: dict[str, Any] = {
            "names": names,
            "ridge": self.linear.ridge,
            "comparison": self.comparison.state(),
            "best_single": self.best_single.sums,
            "labels": self._labels,
        }
        write_state(folder, STEM, arrays, facts)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written.
        """
        load_state(folder, STEM, self._restore)

    def _restore(self, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
        self.linear = LinearPosterior(float(facts["ridge"]))
        self.linear.restore(facts["names"], arrays)
        self.best_single.restore(facts["best_single"])
        if tuple(facts["comparison"]["selection"]["policies"]) == POLICIES:  # Of others it begins anew.
            self.comparison.restore(facts["comparison"])
        self._labels = float(facts["labels"])
        self._trust()


def rewards_of(row: Row) -> list[Reward]:
    """What a revision says of whom: the reward of who acted, and of a label that it would have been right."""
    now, before = _rewards(row), {} if row.before is None else _rewards(row.before)
    return [
        Reward(name, before.get(name), now.get(name))
        for name in sorted(now.keys() | before.keys())
        if now.get(name) != before.get(name)
    ]


def _rewards(row: Row) -> dict[str, float]:
    told: dict[str, float] = {}
    if row.labelled:
        if row.agent is not None:
            told[row.agent] = 0.0
        if row.label is not None:
            told[row.label] = 1.0
    if row.agent is not None and row.reward is not None:
        told[row.agent] = row.reward
    return told
