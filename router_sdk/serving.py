"""What an orchestrator calls: route, record, and who takes part."""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from router_sdk.assembly import Engine
from router_sdk.errors import InvalidInputError, UnknownDecisionError
from router_sdk.exchange.importing import Observation
from router_sdk.records import Agent, Decision, Outcome, Task, agents_of
from router_sdk.rewards import RewardFunction
from router_sdk.routing.handle import Call
from router_sdk.routing.strategies import StrategySpec
from router_sdk.store.identity import check_id, check_key, check_tenant
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig

TaskLike = Task | str | Mapping[str, Any]
OutcomeLike = Outcome | Mapping[str, Any]
AgentLike = Agent | str | Mapping[str, Any]

_GROUP = 64


class Ranked(NamedTuple):
    """One agent in a ranking: rank 1 is best; ``score`` is on the strategy's own scale, or the probability."""

    agent: str
    rank: int
    score: float
    probability: float


class Serving:
    """The part of the ``Router`` that an orchestrator calls; its arguments are described there."""

    def __init__(
        self,
        agents: Iterable[AgentLike] | None = None,
        strategies: Sequence[StrategySpec] | None = None,
        store: str | Path | None = None,
        *,
        config: RouterConfig | str | Path | None = None,
        reward: RewardFunction | str | None = None,
        plugins: Iterable[object] = (),
        **settings: Any,
    ) -> None:
        from router_sdk.config import configure

        if store is not None:
            settings["store"] = store
        if isinstance(reward, str):
            settings["reward"], reward = reward, None
        configured = configure(config, settings)
        members = configured.agents if agents is None else agents_of(agents)
        chain = configured.strategies if strategies is None else list(strategies)
        self._engine = Engine(configured, members, chain, reward, plugins)
        weakref.finalize(self, _dropped, self._engine).atexit = False
        self._writer = self._engine.store.writer
        self.hook = self._engine.hook

    @property
    def config(self) -> RouterConfig:
        """The settings in force."""
        return self._engine.config

    @property
    def reward(self) -> RewardFunction:
        """What turns outcomes into rewards."""
        return self._engine.reward

    @property
    def agents(self) -> tuple[Agent, ...]:
        """This process's agents, in order."""
        return tuple(self._engine.members.roster.everyone)

    # -- route

    def warm_up(self) -> dict[str, str]:
        """Wait until every strategy has opened what it needs, such as a model, or cannot.

        ``route`` never waits: until then the next strategy in the chain answers. Call this before the first request of
        a short-lived process, or before a service says that it is ready.

        Returns:
            Strategies that cannot get ready, and why; empty where all are.
        """
        return self._engine.warm_up()

    def route(self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None) -> Decision:
        """Choose an agent for a task. Does no I/O and never waits, unless an idempotency key is given.

        Who may be chosen is narrowed in this order: enabled and healthy agents, the task's ``requires``, ``exclude``,
        its ``max_cost_usd`` and ``max_latency_ms``, plugins' ``filter_agents``, hard rules of strategies. Among those
        left the chain decides, and the exploration floor is theirs alone. ``Decision.excluded`` says why the others
        are not among them.

        Args:
            task: What is to be done.
            exclude: Names that must not be chosen; each of an agent that is or was there, here or in the store.
            idempotency_key: The same key of the same tenant gives the same decision, in every process on this store;
                it is looked up on disk, and a new decision is on disk before this returns. The task must be the same:
                what the log keeps of it is compared.

        Raises:
            InvalidTaskError: if there is nothing to route by.
            IdempotencyConflictError: if the key was given before, for another task. With ``privacy="none"`` texts are
                compared within this process alone; of a forgotten session nothing is compared.
            UnknownAgentError: if a name in ``exclude`` is nobody's; the store is asked before that is said.
            NoEligibleAgentError: if nobody is left to choose from; says which step left nobody.
            RouterClosedError: after ``close``.
        """
        if not isinstance(task, Task):
            task = Task.of(task)
        engine = self._engine
        if idempotency_key is not None:
            return engine.deciding.decide_once(task, exclude, idempotency_key)
        return engine.deciding.log(engine.deciding.decide(task, exclude))

    async def aroute(
        self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None
    ) -> Decision:
        """``route`` for coroutines; with an idempotency key it runs in a thread, because it reads the disk."""
        if idempotency_key is None:
            return self.route(task, exclude=exclude)
        return await asyncio.to_thread(self.route, task, exclude=exclude, idempotency_key=idempotency_key)

    def route_batch(self, tasks: Iterable[TaskLike], *, exclude: Collection[str] = ()) -> list[Decision]:
        """Choose agents for many tasks, in their order; strategies see them together."""
        decisions = self._engine.deciding.decide_batch([Task.of(task) for task in tasks], exclude)
        return [self._engine.deciding.log(decision) for decision in decisions]

    def rank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """Eligible agents, best first; nothing is logged and nothing explored.

        Empty where the strategy says that no agent fits.

        Args:
            task: What is to be done.
            top_k: How many, at least 1; None takes all.
            exclude: Names that must not be among them.

        Raises:
            InvalidInputError: if ``top_k`` is no such number.
        """
        if top_k is not None and not (hasattr(top_k, "__index__") and top_k > 0):
            raise InvalidInputError(f"top_k: must be a whole number of at least 1, got {top_k!r:.60}")
        drawn = self._engine.deciding.decide(Task.of(task), exclude, remember=False).distribution
        if not drawn.weights:
            return []
        score = drawn.scores if drawn.scores is not None else drawn.probabilities
        return [
            Ranked(name, rank, score.get(name, 0.0), drawn.probabilities[name])
            for rank, name in enumerate(drawn.ranking[:top_k], start=1)
        ]

    def handle(self, task: TaskLike, **options: Any) -> Call:
        """``with router.handle(task) as call``: routes, and records success, failure and latency by itself."""
        return Call(self, Task.of(task), **options)

    # -- record

    def record(
        self,
        decision: Decision | str,
        outcome: OutcomeLike,
        *,
        outcome_id: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """Log what happened; returns only when it is on disk. Parts may come late, repeated and in any order.

        Args:
            decision: A decision, or its id; an id whose decision is not logged yet waits for it.
            outcome: All that is known now; a later part wins, field by field.
            outcome_id: Your own id of this delivery: a second one with the same id of the same tenant, or of the same
                decision, is not stored.
            tenant: Whose decision it must be; None does not ask. The log is read for that where an id is given. A
                decision that is not logged yet is looked at when it is: if it is another tenant's, what was recorded is
                a dead letter.

        Raises:
            InvalidOutcomeError: if a value is not finite or out of range, or the decision has 1,000 outcomes already.
            InvalidIdError: if an id is malformed.
            WrongTenantError: if the decision is another tenant's.
            UnknownAgentError: if the label names nobody known.
            StoreUnavailableError: if it could not be written; nothing of it is stored.
        """
        outcome = Outcome.of(outcome)
        self._writer.append((self._engine.entry(decision, outcome, outcome_id, tenant),))
        self._engine.recorded([_id_of(decision)], outcome)

    async def arecord(
        self,
        decision: Decision | str,
        outcome: OutcomeLike,
        *,
        outcome_id: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """``record`` for coroutines: many of them share one commit."""
        outcome = Outcome.of(outcome)
        if tenant is None or isinstance(decision, Decision):
            entry = self._engine.entry(decision, outcome, outcome_id, tenant)
        else:  # it reads the log
            entry = await asyncio.to_thread(self._engine.entry, decision, outcome, outcome_id, tenant)
        await self._writer.aappend((entry,))
        if self.config.learn_now:
            await asyncio.to_thread(self._engine.recorded, [_id_of(decision)], outcome)
        else:
            self._engine.recorded([_id_of(decision)], outcome)

    def record_session(self, session_id: str, outcome: OutcomeLike, *, tenant: str | None = None) -> int:
        """Log one outcome for every decision of a tenant's session, and return how many there are.

        Args:
            session_id: Which.
            outcome: All that is known of it.
            tenant: Whose session; None is that of tasks without a tenant.

        Raises:
            UnknownDecisionError: if the session has none.
        """
        outcome, tenant = Outcome.of(outcome), check_tenant(tenant)
        self._writer.flush()
        store = self._engine.store
        ids = store.reader.session_decisions(store.privacy.session(check_key(session_id, "session_id")), tenant)
        if not ids:
            whose = "" if tenant is None else f" of tenant {tenant!r}"
            raise UnknownDecisionError(f"session {session_id!r}{whose} has no decisions in the log")
        entries = [self._engine.entry(decision_id, outcome) for decision_id in ids]
        for start in range(0, len(entries), _GROUP):
            self._writer.append(entries[start : start + _GROUP])
        self._engine.recorded(ids, outcome)
        return len(ids)

    def observe(self, task: TaskLike, agent: str | None, outcome: OutcomeLike | None = None) -> Decision:
        """Log a decision that somebody else made, with its outcome; it trains like any other.

        Args:
            task: What was to be done.
            agent: Who did it; None means that nobody fitted.
            outcome: What came of it, if that is known.
        """
        observed = (Task.of(task), agent, None if outcome is None else Outcome.of(outcome))
        return self.observe_batch([observed])[0]

    def observe_batch(self, observed: Sequence[Observation]) -> list[Decision]:
        """``observe`` many; each group of 64 is on disk, or not, as one."""
        engine = self._engine
        decisions = [engine.observation(task, agent) for task, agent, _ in observed]
        entries = [
            Entry(decision=decision) if outcome is None else engine.entry(decision, outcome)
            for decision, (_, _, outcome) in zip(decisions, observed, strict=True)
        ]
        for start in range(0, len(entries), _GROUP):
            self._writer.append(entries[start : start + _GROUP])
        for decision, (_, _, outcome) in zip(decisions, observed, strict=True):
            if outcome is not None:
                engine.recorded([decision.decision_id], outcome)
        return decisions

    def decision(self, decision_id: str, *, tenant: str | None = None) -> Decision:
        """A logged decision.

        Args:
            decision_id: Which.
            tenant: Whose it must be; None does not ask.

        Raises:
            InvalidIdError: if the id is malformed.
            UnknownDecisionError: if the log does not hold it.
            WrongTenantError: if it is another tenant's.
        """
        self._writer.flush()
        found = self._engine.store.reader.known_decision(check_id(decision_id))
        if tenant is not None:
            self._engine.store.require_tenant(found, tenant)
        return found

    # -- agents

    def add_agent(self, agent: AgentLike, *, fresh: bool = False) -> None:
        """Add or replace an agent; no restart, no retraining.

        Args:
            agent: The agent.
            fresh: Forget what was learnt under its name so far.
        """
        self._engine.members.add(Agent.of(agent), fresh=fresh)

    def remove_agent(self, name: str) -> None:
        """Take an agent out; what was learnt about it stays, should it come back.

        Raises:
            UnknownAgentError: if there is none of that name.
        """
        self._engine.members.remove(name)

    def set_health(self, name: str, *, healthy: bool, for_s: float = 30.0) -> None:
        """Keep traffic away from an agent for ``for_s`` seconds, or let it back at once. This process only."""
        self._engine.members.set_health(name, healthy=healthy, for_s=for_s)

    # -- the end

    def flush(self) -> None:
        """Return once everything routed and recorded so far is on disk and learnt."""
        self._writer.flush()
        self._engine.learner.drain()

    def close(self) -> None:
        """Write and learn the rest, snapshot, and stop the threads. Closing twice is harmless."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _dropped(engine: Engine) -> None:
    """The garbage collector found a router that nobody closed."""
    if engine.drop():
        warnings.warn(f"a router on {engine.store.path} was dropped without close()", ResourceWarning, stacklevel=2)


def _id_of(decision: Decision | str) -> str:
    return decision if isinstance(decision, str) else decision.decision_id
