"""What one revision says about which agents: the chosen one's reward, rows that a label fills in, and the others.

Agents that are asked on a whim, at a small propensity, show how often just anybody succeeds. Where that is seldom,
tasks belong to few agents, and a success tells that the others would probably have failed: they are then taught that
rate, at a small weight. Where anybody often succeeds, nothing is concluded.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Example, Signals
    from router_sdk_thompson.config import Labels

WHIM = 0.25
"""Propensity up to which a choice counts as a whim."""
SELDOM = 0.3
"""Success rate of whims up to which tasks count as belonging to few agents."""
GUESSED_SUCCESSES = 1.0
GUESSED_WHIMS = 10.0
DOUBTED_SUCCESSES = 5.0
"""Successes that are guessed of as many whims where it is asked whether they are seldom: nothing follows from a few."""


class Change(NamedTuple):
    """What a revision changes for one agent: its reward before and now, None where nothing was or is known."""

    agent: str
    old: float | None
    new: float | None


def verdicts(example: Example, signals: Signals | None, reward: float | None, labels: Labels) -> dict[str, float]:
    """Reward by agent, as far as one revision tells.

    A label is full information: the labelled agent is worth 1 and, where labels are exclusive, every other
    eligible agent 0. The chosen agent's own reward takes precedence over what the label implies for it.

    Args:
        example: Whose revision.
        signals: Joined parts at that revision; None where nothing was known.
        reward: The chosen agent's reward at that revision.
        labels: What a label says of the others.
    """
    told: dict[str, float] = {}
    if signals is not None and labels != "ignore" and signals.labelled:
        if labels == "exclusive":
            told = dict.fromkeys(example.eligible, 0.0)
        if signals.correct_agent is not None:
            told[signals.correct_agent] = 1.0
    if reward is not None and example.agent is not None:
        told[example.agent] = reward
    return told


def changes(example: Example, labels: Labels) -> list[Change]:
    """What a revision changes, agent by agent, in the order of their names."""
    signals, previous = example.signals, example.previous
    labelled = signals.labelled or (previous is not None and previous.labelled)
    if not labelled or labels == "ignore":
        agent, reward, earlier = example.agent, example.reward, example.previous_reward
        return [] if agent is None or reward == earlier else [Change(agent, earlier, reward)]
    before = verdicts(example, example.previous, example.previous_reward, labels)
    after = verdicts(example, example.signals, example.reward, labels)
    return [
        Change(agent, before.get(agent), after.get(agent))
        for agent in sorted(before.keys() | after.keys())
        if before.get(agent) != after.get(agent)
    ]


def first_reward(told: Sequence[Change]) -> tuple[str, float] | None:
    """Agent and reward of an outcome that is new and says something of one agent alone."""
    if len(told) != 1 or told[0].old is not None or told[0].new is None:
        return None
    return told[0].agent, told[0].new


SUCCESS = 0.5
"""Reward from which an outcome counts as a success of the agent that was asked."""


class ExclusiveLabels:
    """How often an agent that was asked on a whim succeeds.

    Attributes:
        successes: Reward that came of whims.
        whims: How many there were.
    """

    def __init__(self) -> None:
        self.successes = 0.0
        self.whims = 0.0

    def note(self, propensity: float | None, reward: float) -> None:
        """Take in the first reward of a decision."""
        if propensity is not None and propensity <= WHIM:
            self.successes += reward
            self.whims += 1.0

    @classmethod
    def restored(cls, whims: float, successes: float) -> ExclusiveLabels:
        """Take up what was counted.

        Raises:
            ValueError: if a number is negative or not finite, or there are more successes than whims.
        """
        labels = cls()
        labels.whims, labels.successes = float(whims), float(successes)
        if not 0.0 <= labels.successes <= labels.whims * (1.0 + 1e-9) < inf:
            raise ValueError(f"whims and their successes must be finite and at least 0, got {successes} of {whims}")
        return labels

    def verdict(self, *, presumed: bool = False) -> float | None:
        """Reward to expect of those who were not asked when another succeeded; None where nothing follows.

        Args:
            presumed: Whether something else says that tasks belong to few, such as examples of each agent's own.
        """
        whims = GUESSED_WHIMS + self.whims
        doubted = GUESSED_SUCCESSES if presumed else DOUBTED_SUCCESSES
        if (doubted + self.successes) / whims > SELDOM:
            return None
        return (GUESSED_SUCCESSES + self.successes) / whims
