"""What each agent earns whatever the text says, by task type: the policy that no other may fall behind for long.

Where texts say nothing of who is better, whoever is best on average is. An agent's mean is shrunk towards its own over
all task types, and that towards the mean of all agents, so that rare rewards are not drowned by what is believed at
first.
"""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING

from router_sdk.numerics.recency import put_last

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from router_sdk_bert.head.linear import Reward

SHRINK = 2.0
"""Outcomes that the mean of all agents is worth in an agent's."""
BORROWED = 10.0
"""Outcomes that an agent's mean over all task types is worth in that of one type, at most."""
HOPE, HOPED = 0.5, 2.0
"""Reward hoped for before anything is known, and the outcomes that this is worth."""

Sums = tuple[float, float]
"""Outcomes, and the reward that came of them."""
NONE: Sums = (0.0, 0.0)


class BestSingle:
    """Sums of rewards by task type and agent.

    Attributes:
        sums: By task type, each agent's; under ``""`` those over all types.
    """

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, Sums]] = {"": {}}

    def learn(self, task_type: str, rewards: Iterable[Reward]) -> None:
        """Take in what one revision says, and take back what the one before said."""
        sums = self.sums.copy()  # so that a request that reads the old ones is not disturbed
        for kind in ("", task_type) if task_type else ("",):
            of_kind = sums.get(kind, {}).copy()
            for agent, before, now in rewards:
                count, earned = of_kind.get(agent, NONE)
                count += (now is not None) - (before is not None)
                earned += (now or 0.0) - (before or 0.0)
                of_kind[agent] = max(count, 0.0), min(max(earned, 0.0), max(count, 0.0))
            put_last(sums, kind, of_kind)
        self.sums = sums

    def changed(self, agents: Collection[str], kept: float) -> None:
        """Let what is known of agents that turned out to have changed count for at most ``kept`` outcomes."""
        self.sums = {
            kind: {agent: _faded(told, kept) if agent in agents else told for agent, told in of_kind.items()}
            for kind, of_kind in self.sums.items()
        }

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.sums = {
            kind: {agent: told for agent, told in of_kind.items() if agent not in agents}
            for kind, of_kind in self.sums.items()
        }

    def restore(self, state: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Take up sums as they were.

        Raises:
            ValueError: if a number is not finite or negative, or more was earned than there were outcomes.
        """
        found: dict[str, dict[str, Sums]] = {"": {}}
        for kind, of_kind in state.items():
            found[kind] = {}
            for agent, told in of_kind.items():
                count, earned = (float(number) for number in told)
                if not (isfinite(count) and 0.0 <= earned <= count):
                    raise ValueError("rewards must be finite, at least 0, and no more than their number")
                found[kind][agent] = count, earned
        self.sums = found


def means_of(
    sums: Mapping[str, Mapping[str, Sums]], names: Sequence[str], task_type: str
) -> tuple[list[float], list[float]]:
    """Mean reward of each agent on a task of that type, and the standard deviation of what is not known of it.

    Args:
        sums: As ``BestSingle`` keeps them.
        names: The agents.
        task_type: Of the task.
    """
    everywhere, here = sums[""], sums.get(task_type, {}) if task_type else {}
    told = [everywhere.get(name, NONE) for name in names]
    common = (HOPED * HOPE + sum(earned for _, earned in told)) / (HOPED + sum(count for count, _ in told))
    means, widths = [], []
    for name, (count, earned) in zip(names, told, strict=True):
        mean, mass = (SHRINK * common + earned) / (SHRINK + count), SHRINK + count
        if task_type and len(sums) > 2:
            own_count, own_earned = here.get(name, NONE)
            borrowed = min(mass, BORROWED)
            mean, mass = (borrowed * mean + own_earned) / (borrowed + own_count), borrowed + own_count
        means.append(mean)
        widths.append(sqrt(max(mean * (1.0 - mean), 0.0) / (mass + 1.0)))
    return means, widths


def _faded(told: Sums, kept: float) -> Sums:
    count, earned = told
    share = min(1.0, kept / max(count, 1.0))
    return share * count, share * earned
