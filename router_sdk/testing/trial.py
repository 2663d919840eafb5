"""One strategy under test: how it is built, what it is asked and what it is taught."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router_sdk.evaluation.held_out import FixedContext
from router_sdk.strategy import Encoder, Proposal, Strategy, StrategyServices
from router_sdk.testing.examples import make_services, outcome_stream

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.records import AgentSet, Example, Task

Factory = Callable[[StrategyServices], Strategy]
Answers = list[Proposal | None]

LESSONS = 60
"""Decisions that a taught strategy has learnt from."""


@dataclass(slots=True, frozen=True)
class Trial:
    """What every check is given.

    Attributes:
        factory: Makes a new strategy.
        agents: Who can be chosen.
        tasks: What is asked.
        encoders: Encoders by name.
        folder: An empty folder.
        seed: Seed of strategies and requests.
        learns: Whether a hundred failures must move it.
        must_answer: Whether it must answer at least one task once it has been taught.
    """

    factory: Factory
    agents: AgentSet
    tasks: tuple[Task, ...]
    encoders: Mapping[str, Encoder]
    folder: Path
    seed: int = 0
    learns: bool = True
    must_answer: bool = True
    _counter: itertools.count[int] = field(default_factory=itertools.count)

    def new_folder(self) -> Path:
        """A folder nobody has used yet."""
        folder = self.folder / f"{next(self._counter)}"
        folder.mkdir()
        return folder

    def build(self) -> Strategy:
        """A new strategy that was not told of any agent yet."""
        return self.factory(make_services(self.new_folder(), encoders=self.encoders, seed=self.seed))

    def prepared(self) -> Strategy:
        """A new strategy that knows the agents and has learnt nothing."""
        strategy = self.build()
        strategy.prepare(self.agents)
        return strategy

    def taught(self) -> Strategy:
        """A new strategy that knows the agents and has learnt the first lessons."""
        strategy = self.prepared()
        strategy.learn(self.lessons())
        return strategy

    def lessons(self, first: int = 1, count: int = LESSONS) -> list[Example]:
        """Outcomes from the decision numbered ``first`` on."""
        return outcome_stream(self.agents, self.tasks, count=count, first=first, seed=self.seed, encoders=self.encoders)

    def context(self, task: Task, *, history: Sequence[str] | None = None) -> FixedContext:
        """A new context for a request; the same seed each time."""
        acted = task.history if history is None else history
        return FixedContext(seed=self.seed, now=1_000.0, history=acted, text=task.text, encoders=self.encoders)

    def ask(self, strategy: Strategy, task: Task, agents: AgentSet | None = None) -> Proposal | None:
        """One request."""
        return strategy.propose(task, self.agents if agents is None else agents, self.context(task))

    def ask_all(self, strategy: Strategy, agents: AgentSet | None = None) -> Answers:
        """One request for each task."""
        return [self.ask(strategy, task, agents) for task in self.tasks]
