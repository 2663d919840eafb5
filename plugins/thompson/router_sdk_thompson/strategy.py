"""The strategy: reads what was published, and publishes what was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from router_sdk.plugin import DEFAULT_TASK_TYPE, Strategy, StrategyConfig, StrategyServices
from router_sdk_thompson.cell_file import load_cells, save_cells
from router_sdk_thompson.cell_policy import CellPolicy
from router_sdk_thompson.cells import CellEvidence
from router_sdk_thompson.config import ThompsonConfig
from router_sdk_thompson.contexts import Contexts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import AgentSet, Example, Proposal, RouteContext, Task

Key = tuple[int, str]

MOST_PUBLISHED = 1_024
"""Pairs of agent set and task type that are kept ready."""
MOST_REBUILT = 64
"""Pairs that ``learn`` rebuilds, besides those it touched; the others are built when somebody asks."""


class ThompsonStrategy(Strategy):
    """Thompson sampling over what the log says of each agent.

    A request reads one finished proposal; ``learn`` builds the next ones and swaps the reference.
    """

    name: ClassVar[str] = "thompson"
    Config: ClassVar[type[StrategyConfig]] = ThompsonConfig

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        self._settings = cast("ThompsonConfig", config)
        self._policy = CellPolicy(self._settings, services.seed or 0)
        self._evidence = CellEvidence(self._settings)
        self._contexts = Contexts(self._settings, services)
        self._sets: dict[int, AgentSet] = {}
        self._published: dict[Key, Proposal | None] = {}

    def prepare(self, agents: AgentSet) -> None:
        """Build the proposals of every task type seen so far for these agents."""
        self._contexts.prepare(agents)
        self._sets[agents.set_id] = agents
        # The same names may now carry other metadata, so nothing built before is kept.
        self._published = {
            (agents.set_id, task_type): self._policy.propose(self._evidence, task_type, agents)
            for task_type in list(self._evidence.cells)[:MOST_PUBLISHED]
        }

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """What the task's context says, else the finished proposal of its type; None below the minimum of evidence."""
        if (task.text or task.features) and self._settings.contextual:
            proposal = self._contexts.propose(task, agents, context)
            if proposal is not None or task.task_type == DEFAULT_TASK_TYPE:
                return proposal
        try:
            return self._published[agents.set_id, task.task_type]
        except KeyError:
            return self._remember(task.task_type, agents)

    def _remember(self, task_type: str, agents: AgentSet) -> Proposal | None:
        published = self._published
        proposal = self._policy.propose(self._evidence, task_type, agents)
        if len(published) >= MOST_PUBLISHED:
            self._sets, self._published = {agents.set_id: agents}, {}
            published = self._published
        self._sets[agents.set_id] = agents
        # Into the snapshot that was read: if `learn` has published another by now, this one is dropped with it.
        published[agents.set_id, task_type] = proposal
        return proposal

    def learn(self, examples: Sequence[Example]) -> None:
        """Fold the examples into the evidence, and publish the proposals that follow from it."""
        if touched := self._evidence.fold(examples):
            self._publish(touched)
        if self._settings.contextual:
            self._contexts.learn(examples)

    def _publish(self, touched: Collection[str]) -> None:
        # An observation of one task type shifts what all the others borrow, so no older proposal may stay: the
        # touched types and as many others as are cheap are built now, the rest when somebody asks.
        sets, room = self._sets, MOST_REBUILT
        fresh: dict[Key, Proposal | None] = {}
        for key in sorted(self._published.copy(), key=lambda key: key[1] not in touched):
            agents = sets.get(key[0])
            if agents is not None and (key[1] in touched or room > 0):
                fresh[key] = self._policy.propose(self._evidence, key[1], agents)
                room -= 1
        self._published = fresh

    def published(self) -> Sequence[tuple[Proposal, AgentSet]]:
        """The proposals that requests get again, with their agents."""
        sets = self._sets
        ready = list(self._published.items())
        return [(proposal, sets[key[0]]) for key, proposal in ready if proposal is not None and key[0] in sets]

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of these agents."""
        self._evidence.forget(names)
        self._contexts.forget(names)
        self._publish(set(self._evidence.cells))

    def save(self, folder: Path) -> None:
        """Write the evidence; priors and proposals are derived from it."""
        save_cells(self._evidence, folder / "cells.json")
        self._contexts.save(folder)

    def load(self, folder: Path) -> None:
        """Read the evidence back.

        Raises:
            CorruptArtifactError: if it is missing or not valid.
        """
        load_cells(self._evidence, folder / "cells.json")
        self._contexts.load(folder)
        self._publish(set(self._evidence.cells))

    def report(self) -> Mapping[str, Any]:
        """Evidence per agent, and how much is kept ready."""
        return {**self._evidence.report(), **self._contexts.report(), "published": len(self._published)}
