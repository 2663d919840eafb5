"""The strategy: reads what was published, and publishes what was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from router_sdk.plugin import DEFAULT_TASK_TYPE, Strategy, StrategyConfig, StrategyServices
from router_sdk_thompson.config import ThompsonConfig
from router_sdk_thompson.drift.detectors import described_detector
from router_sdk_thompson.objectives.estimates import CostLatencyModel
from router_sdk_thompson.policy.comparison import POLICIES
from router_sdk_thompson.policy.context_free import ContextFreePolicy
from router_sdk_thompson.policy.contextual import ContextualPolicy, ContextualSnapshot, Voice
from router_sdk_thompson.policy.proposal import mixture, proposal_of
from router_sdk_thompson.posteriors.cells import CellEvidence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import AgentSet, Example, ExampleColumns, Proposal, RouteContext, Task
    from router_sdk_thompson.objectives.estimates import Estimates
    from router_sdk_thompson.objectives.objectives import Objectives

Key = tuple[int, str]

MOST_PUBLISHED = 1_024
"""Pairs of agent set and task type that are kept ready; fewer where agents are many, see ``MOST_CHANCES``."""
MOST_CHANCES = 262_144
"""Agents in all the proposals that are kept ready, together."""
LEAST_PUBLISHED = 16
"""Pairs that are kept ready however many agents there are."""
MOST_REBUILT = 64
"""Pairs that ``learn`` rebuilds, besides those it touched; the others are built when somebody asks."""
MOST_REBUILT_CHANCES = 4_096
"""Agents in all the proposals that ``learn`` rebuilds like that."""
MOST_PREPARED_CHANCES = 512
"""Agents in all the proposals that ``prepare`` builds: agents may come and go while requests wait for it."""


def _room(agents: AgentSet) -> int:
    """Pairs that are kept ready where so many agents are eligible."""
    return min(MOST_PUBLISHED, max(LEAST_PUBLISHED, MOST_CHANCES // max(len(agents), 1)))


class Published(NamedTuple):
    """All that requests read, swapped by one assignment, and which publication it is."""

    ready: dict[Key, Proposal | None]
    sets: dict[int, AgentSet]
    contexts: ContextualSnapshot
    estimates: Estimates
    number: int


class ThompsonStrategy(Strategy):
    """Thompson sampling over what the log says of each agent.

    A request for a bare task type reads one finished proposal; one with a text or features asks the newest
    publication of the posterior that fits it. ``learn`` works on arrays of its own and swaps one reference.
    """

    name: ClassVar[str] = "thompson"
    Config: ClassVar[type[StrategyConfig]] = ThompsonConfig
    state_version: ClassVar[int] = 8

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        self._settings = cast("ThompsonConfig", config)
        self._policy = ContextFreePolicy(self._settings, services.seed or 0)
        self._evidence = CellEvidence(self._settings)
        self._contextual_too = self._settings.contextual
        self._costs = CostLatencyModel(self._settings.objectives)
        self._contexts = ContextualPolicy(self._settings, services)
        self._agents: AgentSet | None = None
        self._turned = self._costs.publish()
        self._writing = 0
        self._published = Published({}, {}, self._contexts.publish(), self._turned, self._writing)

    def prepare(self, agents: AgentSet) -> None:
        """Read the agents' examples, and build the proposals of task types seen so far where agents are few."""
        self._agents = agents
        self._contexts.prepare(agents)
        # The same names may now carry other metadata, so nothing built before is kept.
        most = min(_room(agents), MOST_PREPARED_CHANCES // max(len(agents), 1))
        estimates, kinds = self._costs.prepared(), list(reversed(self._evidence.cells))[:most]
        ready = {(agents.set_id, kind): self._build(kind, agents, estimates) for kind in kinds}
        self._swap(ready, {agents.set_id: agents}, estimates)

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """What context and record say, else the type's finished proposal; None below the minimum of evidence."""
        published = self._published
        if not (self._contextual_too and (task.text or task.features)):
            return self._by_type(published, task.task_type, agents)
        if task.features and (kept := context.kept(task.features)) is not task.features:
            task = task.model_copy(update={"features": kept})
        voices = published.contexts.voices(task, agents, context)
        while self._writing > published.number + 1 and published is not self._published:
            # So slow a request that two publications passed it: what it read may have been written meanwhile.
            published = self._published
            voices = published.contexts.voices(task, agents, context)
        if voices and len(agents):
            return self._mixed(published, voices, task.task_type, agents)
        if task.task_type != DEFAULT_TASK_TYPE or self._policy.primed(task.task_type):
            return self._by_type(published, task.task_type, agents)
        return None

    def _mixed(self, published: Published, voices: list[Voice], task_type: str, agents: AgentSet) -> Proposal | None:
        sampling, estimates, parts = self._settings.sampling, self._wanted(published), []
        for policy, share, belief in voices:
            if belief is not None:
                proposal: Proposal | None = proposal_of(belief, agents, sampling, estimates)
            else:
                proposal = self._by_type(published, task_type, agents)
            if proposal is not None:
                parts.append((POLICIES[policy], share, proposal))
        return mixture(parts) if parts else None

    def _wanted(self, published: Published) -> Estimates:
        """The published prices under the objectives of this moment."""
        turned = self._turned
        return turned if turned.objectives is not published.estimates.objectives else published.estimates

    def _by_type(self, published: Published, task_type: str, agents: AgentSet) -> Proposal | None:
        try:
            return published.ready[agents.set_id, task_type]
        except KeyError:
            return self._remember(published, task_type, agents)

    def _build(self, task_type: str, agents: AgentSet, estimates: Estimates) -> Proposal | None:
        return self._policy.propose(self._evidence, estimates, task_type, agents)

    def _remember(self, published: Published, task_type: str, agents: AgentSet) -> Proposal | None:
        key, estimates = (agents.set_id, task_type), self._wanted(published)
        proposal = self._build(task_type, agents, estimates)
        room, sets = _room(agents), published.sets
        if len(published.ready) < room and (agents.set_id in sets or len(sets) < room):
            # Into the snapshot that was read: if `learn` has published another by now, this one is dropped with it.
            sets[agents.set_id] = agents
            published.ready[key] = proposal
            if self._wanted(published).objectives is not estimates.objectives:
                published.ready.pop(key, None)
        return proposal

    def learn(self, examples: Sequence[Example]) -> None:
        """Fold the examples into the evidence, and publish the proposals that follow from it."""
        priced = self._costs.fold(examples)
        if self._contextual_too:
            touched = self._contexts.learn(examples, self._evidence)
        else:
            touched = self._evidence.fold(examples)
        self._learnt(touched, priced=priced)

    def learn_columns(self, columns: ExampleColumns) -> None:
        """The same of a batch, in arrays where that is cheaper."""
        priced = self._costs.fold_columns(columns)
        if self._contextual_too:
            touched = self._contexts.learn_columns(columns, self._evidence)
        else:
            touched = self._evidence.fold_columns(columns)
        self._learnt(touched, priced=priced)

    def _learnt(self, touched: set[str], *, priced: bool) -> None:
        # A budget's multiplier is shared, so a price that came in shifts what is proposed for every type.
        if priced and not self._costs.objectives.quality_alone:
            touched |= self._evidence.cells.keys()
        if touched or priced:
            self._publish(touched)

    def pursue(self, objectives: Objectives) -> None:
        """Change weights and budgets from the next request on, from any thread; nothing is learnt anew.

        It lasts as long as this object: what shall outlive the process belongs into the configuration.
        """
        published = self._published
        self._costs.pursue(objectives)
        self._turned = published.estimates.pursuing(objectives)
        # What is being published meanwhile is looked at again by `_swap`, what is being built by `_remember`.
        self._published.ready.clear()

    def _swap(self, ready: dict[Key, Proposal | None], sets: dict[int, AgentSet], estimates: Estimates) -> None:
        # Said before anything is written, for requests that still read the copies which are written now.
        self._writing = number = self._writing + 1
        self._published = Published(ready, sets, self._contexts.publish(), estimates, number)
        if self._turned.objectives is not estimates.objectives:
            ready.clear()

    def _publish(self, touched: Collection[str]) -> None:
        # An observation of one task type shifts what all the others borrow, so no older proposal may stay: the
        # touched types and as many others as are cheap are built now, the rest when somebody asks.
        published, estimates, chances = self._published, self._costs.publish(), 0
        before, sets = published.ready.copy(), published.sets.copy()
        ready: dict[Key, Proposal | None] = {}
        for key in sorted(before, key=lambda key: key[1] not in touched) if before else ():
            agents = sets.get(key[0])
            cheap = len(ready) < MOST_REBUILT and chances < MOST_REBUILT_CHANCES
            if agents is not None and (key[1] in touched or cheap):
                ready[key] = self._build(key[1], agents, estimates)
                chances += len(agents)
        if len(sets) >= LEAST_PUBLISHED or len(ready) >= LEAST_PUBLISHED:
            most = min(map(_room, sets.values()), default=MOST_PUBLISHED)
            if len(sets) >= most or len(ready) >= most:
                sets, ready = {}, {}
        self._swap(ready, sets, estimates)

    def prior_table(self, discount: float, most_mass: float = 100.0) -> dict[str, dict[str, dict[str, float]]]:
        """What was learnt per task type, as a table that another router's ``priors`` takes.

        Args:
            discount: What an observation is worth there, in (0, 1].
            most_mass: Bound on what is said of one agent on one type, in observations.

        Raises:
            ValueError: if ``discount`` is out of range.
        """
        if not 0.0 < discount <= 1.0:
            raise ValueError(f"discount must be in (0, 1], got {discount}")
        return self._evidence.prior_table(discount, most_mass)

    def published(self) -> Sequence[tuple[Proposal, AgentSet]]:
        """The proposals that requests get again, with their agents."""
        published = self._published
        ready, sets = published.ready.copy(), published.sets
        return [(proposal, sets[key[0]]) for key, proposal in ready.items() if proposal is not None]

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what was learnt of these agents."""
        self._evidence.forget(names)
        self._costs.forget(names)
        self._contexts.forget(names)
        self._publish(set(self._evidence.cells))

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop the few features that are kept by decision; sums and weights stay."""
        self._contexts.forget_examples(decision_ids)

    def save(self, folder: Path) -> None:
        """Write the evidence; priors and proposals are derived from it."""
        self._evidence.save(folder / "cells.json")
        self._costs.save(folder / "prices.json")
        self._contexts.save(folder)

    def load(self, folder: Path) -> None:
        """Read the evidence back, all or nothing: what is replayed over half a state would count twice.

        Raises:
            CorruptArtifactError: if it is missing or not valid.
        """
        evidence, contexts = CellEvidence(self._settings), ContextualPolicy(self._settings, self.services)
        evidence.load(folder / "cells.json")
        contexts.load(folder)
        self._costs.load(folder / "prices.json")
        self._evidence, self._contexts = evidence, contexts
        if self._agents is not None:
            contexts.prepare(self._agents)
        self._publish(set(evidence.cells))

    def expected(self) -> Mapping[str, Mapping[str, float]]:
        """Quality over all task types, latency and cost of an average task, per agent, as far as they are known."""
        published = self._published
        agents = {agent.name: agent for each in published.sets.copy().values() for agent in each}
        found: dict[str, dict[str, float]] = {}
        for name, agent in agents.items():
            quality = self._policy.overall(self._evidence, agent)
            told = {"quality": quality, **published.estimates.price(agent)._asdict()}
            found[name] = {key: value for key, value in told.items() if value is not None}
        return found

    def report(self) -> Mapping[str, Any]:
        """Evidence per agent, and how much is kept ready."""
        ready = len(self._published.ready)
        return {
            **self._evidence.report(),
            **self._contexts.report(),
            "change_detector": described_detector(self._settings),
            "budgets": self._costs.report(),
            "published": ready,
        }
