"""What one revision says about which agents: the chosen one's reward, and rows that a label fills in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.plugin import Example, Signals
    from router_sdk_thompson.config import Labels


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
