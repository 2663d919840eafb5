"""A stream of tasks for which the outcome of every agent is known, so that any router can be replayed on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from router_sdk.records import Agent, Outcome, Task


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One task, and what each agent would have made of it.

    Attributes:
        task: What is routed.
        rewards: Reward in [0, 1] of each agent, had it been chosen.
        best: The oracle's choice; None where no agent fits.
        outcomes: Full outcomes by agent, where the stream has more to tell than a reward.
    """

    task: Task
    rewards: Mapping[str, float]
    best: str | None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    def reward(self, agent: str | None) -> float:
        """Reward of choosing ``agent``; saying that no agent fits is right exactly where none does."""
        if agent is None:
            return 1.0 if self.best is None else 0.0
        return self.rewards[agent]

    def outcome(self, agent: str | None) -> Outcome:
        """What comes back if ``agent`` is chosen: bandit feedback on the choice, never the label."""
        if agent is not None and agent in self.outcomes:
            return self.outcomes[agent]
        reward = self.reward(agent)
        return Outcome(success=reward == 1.0) if reward in (0.0, 1.0) else Outcome(quality=reward)


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the stream in which the world stays the same.

    Attributes:
        name: What to call it in a table.
        items: Its tasks, in order.
    """

    name: str
    items: Sequence[StreamItem]


Probe = tuple[Task, str | None]
"""A task and the agent that is right for it; None where no agent fits."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What the demonstration plays: agents, phases, and what the reader should know about them.

    Attributes:
        title: A few words.
        agents: Who can be chosen.
        phases: The tasks, in order.
        strategy: Configuration of each strategy, by its name, that suits this stream.
        past: Labelled tasks from before, for pre-training; none starts without.
        probes: Labelled tasks that nobody learns from, by kind: whether the old is forgotten for the new.
        notes: Sentences for the report: where the data come from, what was left out and why.
    """

    title: str
    agents: tuple[Agent, ...]
    phases: tuple[Phase, ...]
    strategy: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    past: Sequence[Probe] = ()
    probes: Mapping[str, Sequence[Probe]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> list[StreamItem]:
        """All tasks, over the phases, in order."""
        return [item for phase in self.phases for item in phase.items]
