"""A stream of tasks for which every agent's outcome is known, and how outcomes come back: late, in parts, or never."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from router_sdk.records import Agent, Decision, Outcome, Task

if TYPE_CHECKING:
    import numpy as np

Probe = tuple[Task, str | None]
"""A task and the agent that is right for it; None where no agent fits."""
Kind = Literal["prompt", "late", "in parts", "repeated", "corrected", "missing"]
SHARES: dict[Kind, float] = {
    "prompt": 0.57,
    "late": 0.20,
    "in parts": 0.08,
    "repeated": 0.05,
    "corrected": 0.05,
    "missing": 0.05,
}
MEAN_DELAY = 30
"""Tasks that pass, on average, before a late outcome arrives; geometric."""


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
        """What comes back if ``agent`` is chosen: feedback on the choice alone, unless the stream says more."""
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
        contradicts: Earlier phases of which some answers are wrong from now on, although nothing in a task says so;
            what was learnt in any other one still holds.
    """

    name: str
    items: Sequence[StreamItem]
    contradicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """What the demonstration plays: agents, phases, and what the reader should know about them.

    Attributes:
        title: A few words.
        agents: Who can be chosen.
        phases: The tasks, in order.
        strategy: Configuration of each strategy, by its name, that suits this stream.
        past: Labelled tasks from before, for pre-training; none starts without.
        probes: Labelled tasks that nobody learns from, by the phase whose kind they are: whether the old is forgotten
            for the new.
        background_fits: Whether fits start by the count of fresh examples and run while the stream goes on; else there
            is one half-way, and the stream waits for it, so that the same seed gives the same choices.
        notes: Sentences for the report: where the data come from, what was left out and why.
    """

    title: str
    agents: tuple[Agent, ...]
    phases: tuple[Phase, ...]
    strategy: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    past: Sequence[Probe] = ()
    probes: Mapping[str, Sequence[Probe]] = field(default_factory=dict)
    background_fits: bool = False
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> list[StreamItem]:
        """All tasks, over the phases, in order."""
        return [item for phase in self.phases for item in phase.items]


@dataclass(order=True, slots=True)
class Delivery:
    """One message about one decision.

    Attributes:
        due: After how many tasks of the stream it arrives.
        order: Keeps messages that are due together in the order they were sent.
        decision: Which decision.
        outcome: What the message says.
        late: Whether the caller has only the decision's id left by then.
    """

    due: int
    order: int
    decision: Decision = field(compare=False)
    outcome: Outcome = field(compare=False)
    late: bool = field(compare=False)


class FeedbackLoop:
    """Holds back outcomes until they are due.

    Args:
        rng: Decides what happens to each outcome.

    Attributes:
        kinds: How many decisions were treated in which way.
        messages: How many messages were handed out.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.kinds: Counter[str] = Counter(dict.fromkeys(SHARES, 0))
        self.messages = 0
        self._rng = rng
        self._waiting: list[Delivery] = []
        self._sent = 0

    def send(self, decision: Decision, outcome: Outcome, now: int) -> None:
        """Decide how the outcome of a decision made at position ``now`` of the stream will come back."""
        draw = self._rng.random()
        kind: Kind = "missing"
        for candidate, share in SHARES.items():
            draw -= share
            if draw < 0.0:
                kind = candidate
                break
        self.kinds[kind] += 1
        for part, late in _messages(kind, outcome):
            self._sent += 1
            due = now + int(self._rng.geometric(1.0 / MEAN_DELAY)) if late else now
            heapq.heappush(self._waiting, Delivery(due, self._sent, decision, part, late))

    def due(self, now: int | None = None) -> Iterator[Delivery]:
        """Hand out what has arrived by ``now``; everything that is still out where ``now`` is None."""
        while self._waiting and (now is None or self._waiting[0].due <= now):
            self.messages += 1
            yield heapq.heappop(self._waiting)


def _messages(kind: Kind, outcome: Outcome) -> list[tuple[Outcome, bool]]:
    """The messages that one outcome is sent in, each with whether it is late; together they say ``outcome``."""
    if kind == "missing":
        return []
    if kind == "late":
        return [(outcome, True)]
    if kind == "repeated":
        return [(outcome, False), (outcome, True)]
    if kind == "corrected":
        return [(_hasty(outcome), False), (outcome, True)]
    if kind == "in parts":
        said = outcome.model_dump(exclude_none=True)
        judged = {key: value for key, value in said.items() if key in {"success", "quality"}}
        measured = {key: value for key, value in said.items() if key not in judged}
        return [(Outcome(**part), part is judged) for part in (measured, judged) if part]
    return [(outcome, False)]


def _hasty(outcome: Outcome) -> Outcome:
    """A first verdict that turns out to be wrong."""
    if outcome.success is not None:
        return Outcome(success=not outcome.success)
    return Outcome(quality=1.0 - (outcome.quality or 0.0))
