"""The public face: one object that decides, learns and tells."""

from __future__ import annotations

import asyncio
import time
import warnings
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from router_sdk.assembly import Assembly
from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.evaluation.classification import Evaluation, Label, judge
from router_sdk.evaluation.savings import Savings
from router_sdk.exchange.observations import observations, paired
from router_sdk.experiments.savings import AGENTS, savings
from router_sdk.learning.performance import AgentPerformance
from router_sdk.learning.verification import verify_replay
from router_sdk.records import Agent, AgentLike, Decision, Outcome, OutcomeLike, Ranked, Task, TaskLike, agents_of
from router_sdk.records.arguments import each, flag, place, text, whole
from router_sdk.rewards import RewardFunction
from router_sdk.routing.handle import Call
from router_sdk.routing.prefetching import give_way, stand_by
from router_sdk.routing.strategies import StrategySpec
from router_sdk.store.backup import BackupReport, backup
from router_sdk.store.events import dead_letters, learning_events, learning_totals
from router_sdk.store.identity import check_id, check_key, check_tenant, check_time
from router_sdk.store.lately import answered, passed
from router_sdk.store.registry import safety_totals
from router_sdk.strategy import Strategy

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.exchange.examples import Examples
    from router_sdk.exchange.streams import Streams
    from router_sdk.experiments.experiments import Experiments
    from router_sdk.recording import Observation
    from router_sdk.store.access import AccessKeys
    from router_sdk.training.models import Models

__all__ = ["Ranked", "Router"]


class Router:
    """Decides which agent gets which task, and gets better at it from what happened.

    Thread-safe. Use it as a context manager, or call ``close``.

    Args:
        agents: Who can be chosen: ``Agent`` records, names, or mappings of an agent's fields. None follows
            what the store knows.
        strategies: The chain; the first that does not abstain decides. Names, ``(name, settings)`` pairs,
            ``Strategy`` classes or objects, each object for one router. None takes those of bert, thompson and
            heuristic that are installed.
        store: SQLite file on a local disk, or ``":memory:"``; the default is ``router.db``.
        config: A ``RouterConfig``, or the path of a TOML, YAML or JSON file.
        reward: Turns outcomes into rewards; the default is ``OutcomeReward()``.
        plugins: Objects with hook implementations, beside the installed plugins.
        **settings: Any field of ``RouterConfig``; comes before ``config`` and the environment.

    Raises:
        InvalidConfigError: if a setting is unknown or out of range.
        InvalidAgentError: if an agent is malformed.
        UnknownStrategyError: if a strategy is not installed.
        StoreUnavailableError: if the store cannot be opened.

    Attributes:
        models: Fits and fitted versions: retrain, promote, roll back, pin.
        experiments: What another router would have earned; challengers beside what serves: start, look, stop.
        examples: What the log holds of tasks and outcomes: slices, files in and out, whom to ask.
        streams: Outcomes in from brokers, and the log out to them.
        keys: Who may call a service on this store, and for what.
        hook: Calls the plugins' hooks.
    """

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
        self._parts = Assembly(configured, members, chain, reward, plugins)
        weakref.finalize(self, _dropped, self._parts).atexit = False
        self.hook = self._parts.hook

    @property
    def config(self) -> RouterConfig:
        """The settings in force."""
        return self._parts.config

    @property
    def reward(self) -> RewardFunction:
        """What turns outcomes into rewards."""
        return self._parts.reward

    @property
    def agents(self) -> tuple[Agent, ...]:
        """This process's agents, in order."""
        return tuple(self._parts.members.roster.everyone)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of those that get traffic now: enabled, and not marked unhealthy."""
        return self._parts.members.now().available.names

    @property
    def models(self) -> Models:
        """Fits, the versions that came of them, and which of them serves."""
        return self._parts.models

    @property
    def keys(self) -> AccessKeys:
        """What callers of a service show to be let in: made, listed, revoked, and told apart."""
        return self._parts.keys

    @property
    def examples(self) -> Examples:
        """The joined examples, oldest first, read when asked for: ``router.examples[-5:]``; files in and out."""
        return self._parts.examples

    @property
    def streams(self) -> Streams:
        """Outcomes in from brokers, and the log out to them; how far each stream is, and how it does."""
        return self._parts.streams

    @property
    def experiments(self) -> Experiments:
        """Challengers beside what serves, on real tasks; and what another router would have earned on this log."""
        return self._parts.experiments

    # -- route

    def warm_up(self) -> dict[str, str]:
        """Wait until every strategy has opened what it needs, such as a model, or cannot.

        ``route`` never waits: until then the next strategy in the chain answers. Call this before the first request of
        a short-lived process, or before a service says that it is ready.

        Returns:
            Strategies that cannot get ready, and why; empty where all are.
        """
        return self._parts.warm_up()

    def route(self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None) -> Decision:
        """Choose an agent for a task. Does no I/O and never waits, unless an idempotency key is given.

        A strategy that asks a server (see ``Strategy.prefetch``) may have it wait for the answer, as long as its
        settings allow.

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
        decider = self._parts.decider
        if decider.chain.prefetching:
            stand_by(decider.prefetch((task,)))
        if idempotency_key is not None:
            return decider.decide_once(task, exclude, idempotency_key)
        return decider.log(decider.decide(task, exclude))

    async def aroute(
        self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None
    ) -> Decision:
        """``route`` for coroutines; with an idempotency key it runs in a thread, because it reads the disk."""
        if idempotency_key is None:
            task, decider = Task.of(task), self._parts.decider
            if decider.chain.prefetching:
                await give_way(decider.prefetch((task,)))
            return decider.log(decider.decide(task, exclude))
        return await asyncio.to_thread(self.route, task, exclude=exclude, idempotency_key=idempotency_key)

    def route_batch(self, tasks: Iterable[TaskLike], *, exclude: Collection[str] = ()) -> list[Decision]:
        """Choose agents for many tasks, in their order; strategies see them together."""
        decider = self._parts.decider
        asked = [Task.of(task) for task in each(tasks, "tasks")]
        stand_by(decider.prefetch(asked))
        made = decider.decide_batch(asked, exclude)
        return [decider.log(one) for one in made]

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
        most = None if top_k is None else whole(top_k, "top_k", 1)
        drawn = self._parts.decider.decide(Task.of(task), exclude, remember=False).distribution
        if not drawn.weights:
            return []
        score = drawn.scores if drawn.scores is not None else drawn.probabilities
        return [
            Ranked(name, rank, score.get(name, 0.0), drawn.probabilities[name])
            for rank, name in enumerate(drawn.ranking[:most], start=1)
        ]

    def preview(self, task: TaskLike, *, exclude: Collection[str] = ()) -> Decision:
        """What ``route`` would decide now, with all that ``explain`` tells; nothing is logged, its id is in no log."""
        return self._parts.decider.preview(Task.of(task), exclude)

    def handle(self, task: TaskLike, **options: Any) -> Call:
        """``with router.handle(task) as call``: routes, and records success, failure and latency by itself."""
        return Call(self, Task.of(task), **options)

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
        self._parts.store.writer.flush()
        found = self._parts.store.reader.known_decision(check_id(decision_id))
        if tenant is not None:
            self._parts.store.require_tenant(found, tenant)
        return found

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
        self._parts.recorder.record(decision, Outcome.of(outcome), outcome_id, tenant)

    async def arecord(
        self,
        decision: Decision | str,
        outcome: OutcomeLike,
        *,
        outcome_id: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """``record`` for coroutines: many of them share one commit."""
        await self._parts.recorder.arecord(decision, Outcome.of(outcome), outcome_id, tenant)

    async def arecord_batch(
        self, reports: Sequence[tuple[Decision | str, OutcomeLike, str | None]], *, tenant: str | None = None
    ) -> list[RouterError | None]:
        """``arecord`` many outcomes, which stand or fall each by itself.

        Args:
            reports: For each a decision or its id, what came of it, and your own id of this delivery or None.
            tenant: Whose decisions they must be; None does not ask.

        Returns:
            For each, in their order, None where it is on disk, else why it is not.

        Raises:
            InvalidInputError: if one is no such report.
            InvalidOutcomeError: if one of them is no outcome at all.
        """
        told = []
        for report in each(reports, "reports"):
            if not isinstance(report, tuple | list) or len(report) != 3:
                raise InvalidInputError(f"reports: expected (decision, outcome, id or None), got {report!r:.60}")
            told.append((report[0], Outcome.of(report[1]), report[2]))
        return await self._parts.recorder.arecord_many(told, tenant)

    def record_session(self, session_id: str, outcome: OutcomeLike, *, tenant: str | None = None) -> int:
        """Log one outcome for every decision of a tenant's session, and return how many there are.

        Args:
            session_id: Which.
            outcome: All that is known of it.
            tenant: Whose session; None is that of tasks without a tenant.

        Raises:
            UnknownDecisionError: if the session has none.
        """
        outcome = Outcome.of(outcome)
        ids = self._parts.recorder.session(session_id, tenant)
        self._parts.recorder.record_all(ids, outcome)
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
        return self._parts.recorder.observe(observed)

    # -- labels

    def fit(self, X: Sequence[TaskLike], y: Sequence[Label], *, new_agents: bool = False) -> Self:  # noqa: N803
        """Log labelled tasks, and learn from them before this returns.

        Args:
            X: Tasks, or texts.
            y: For each the right agent's name, None for "no agent fits", or a score in [0, 1] per agent.
            new_agents: Whether names that nobody knows become agents.
        """
        observed = list(observations(paired(X, y)))
        self._parts.intake.welcome((agent for _, agent, _ in observed), new_agents=new_agents)
        for task, agent, outcome in observed:  # all of them before the first is logged
            decision = self._parts.recorder.observation(task, agent)
            if outcome is not None:
                self._parts.recorder.entry(decision, outcome)
        self.observe_batch(observed)
        self.flush()
        return self

    def evaluate(self, X: Sequence[TaskLike], y: Sequence[Label]) -> Evaluation:  # noqa: N803
        """Compare the favourites with labels or scores, see ``fit``; nothing is logged, learnt or explored."""
        pairs = paired(X, y)
        drawn = [self._parts.decider.decide(task, remember=False).distribution for task, _ in pairs]
        chosen = [found.agents.names[found.favourite] if found.weights else None for found in drawn]
        names = self._parts.members.roster.everyone.names
        return judge(chosen, [label for _, label in pairs], names, [found.confidence for found in drawn])

    # -- agents

    def add_agent(self, agent: AgentLike, *, fresh: bool = False) -> None:
        """Add or replace an agent; no restart, no retraining.

        Args:
            agent: The agent.
            fresh: Forget what was learnt under its name so far.
        """
        self._parts.members.add(Agent.of(agent), fresh=flag(fresh, "fresh"))

    def remove_agent(self, name: str) -> None:
        """Take an agent out; what was learnt about it stays, should it come back.

        Raises:
            UnknownAgentError: if there is none of that name.
        """
        self._parts.members.remove(name)

    def set_health(self, name: str, *, healthy: bool, for_s: float = 30.0) -> None:
        """Keep traffic away from an agent for ``for_s`` seconds, or let it back at once. This process only."""
        self._parts.members.set_health(name, healthy=healthy, for_s=for_s)

    # -- reports

    def statistics(self) -> dict[str, Any]:
        """Totals over this log, as far as this process has learnt it.

        Keys: ``total_examples, label_distribution`` (labels by agent), ``no_agent_fits`` (labels that say so),
        ``feedback_rate`` (share of examples with explicit feedback), ``avg_quality_score, positive_feedback_rate,
        current_model_score`` (mean reward of the last 100 outcomes), ``improvement_rate`` (relative to the 100 before),
        ``samples_processed`` (outcomes that were learnt, each once), ``taught_nothing`` (examples of which nothing says
        how they went); of updates ``total_updates, successful_updates, failed_updates, update_success_rate,
        updates_per_minute`` (over the last ten), ``avg_update_time_ms, learning_efficiency`` (what 100 examples added
        to ``current_model_score``); of fits ``retrain_count`` (their version came to serve), ``encoder_retrain_count``
        (and had moved an encoder), ``refused_fits, failed_fits, avg_fit_time_ms`` and ``next_retrain_in``; of versions
        ``gate_pass_rate`` (share of candidates that passed the gate), ``refused_candidates, rollbacks,
        rollback_frequency`` (rollbacks for each other time that a version came to serve) and ``violations`` (what got
        through: versions that were rolled back by themselves); ``canary_pass_rate`` (share of the golden tasks that are
        answered as they must be, now); ``savings`` (against ``best_single`` and ``dearest``, see there).
        """
        query = self._parts.store.reader.query
        canary = self._parts.canary.look()
        return {
            **self._parts.performance.statistics(),
            **query(learning_totals),
            **query(safety_totals),
            "canary_pass_rate": None if canary is None else canary.share,
            "savings": {name: self.savings(name).to_dict() for name in AGENTS},
            "next_retrain_in": self._parts.trainer.triggering.next_in,
        }

    def agent_performance(self, *, task_type: str | None = None, top_k: int | None = None) -> list[AgentPerformance]:
        """Reports of this process's agents, best first, with score, rank, and what the strategies expect of each.

        Of more than 1,024 task types, those heard of longest ago are counted together, as ``"types/other"``.

        Args:
            task_type: Count this type only.
            top_k: How many to recommend; None reports on all.
        """
        most = None if top_k is None else whole(top_k, "top_k", 1)
        names = self._parts.members.roster.everyone.names
        expected: dict[str, Mapping[str, float]] = {}
        for stage in reversed(self._parts.chain.stages):  # so that the first in the chain has the last word
            expected.update(stage.expected())
        return self._parts.performance.agents(names, task_type, expected)[:most]

    def savings(self, baseline: str = "best_single") -> Savings:
        """What was spent against what a baseline would have, with an interval, and what quality came with each.

        Args:
            baseline: ``best_single`` (the agent that earns most on the tasks as they came), ``dearest``, an agent's
                name, or ``previous_champion``: what was spent while the version before served, which reads the log.

        Raises:
            InvalidInputError: if it is none of these.
        """
        return savings(baseline, self._parts.performance, self.examples, self.models.history, self._parts.chain.stages)

    def status(self, *, last: int = 5) -> dict[str, Any]:
        """Everything that ``router status`` shows, as JSON values.

        Args:
            last: How many of the newest updates and dead letters.
        """
        newest = whole(last, "last")
        reader = self._parts.store.reader
        return {
            **self._parts.status(),
            "answered": reader.query(answered),
            "passed": reader.query(passed),
            "performance": [one.to_dict() for one in self.agent_performance()],
            "statistics": self.statistics(),
            "learning_events": reader.query(lambda connection: learning_events(connection, newest)),
            "dead_letters": self.dead_letters(newest),
        }

    def backlog(self) -> dict[str, int]:
        """What waits in this process: cheap enough to ask every second.

        Keys: ``waiting`` (decisions for the disk), ``unlogged`` (decisions that were never logged, because too many
        waited), ``lag`` (events of the log that are not learnt yet).
        """
        parts = self._parts
        return {
            "waiting": parts.store.writer.waiting,
            "unlogged": parts.decider.unlogged,
            "lag": parts.learner.position()[1],
        }

    def dead_letter(self, kind: str, reason: str, *, body: str | None = None) -> None:
        """Keep what could not be understood or delivered, with the reason; privacy applies to both."""
        told = None if body is None else text(body, "body")
        self._parts.store.refuse([(text(kind, "kind"), None, text(reason, "reason"), told)])

    def dead_letters(self, limit: int = 100) -> list[Mapping[str, Any]]:
        """What was refused in batches, and why, newest first."""
        most = whole(limit, "limit")
        return self._parts.store.reader.query(lambda connection: dead_letters(connection, most))

    def strategy(self, name: str) -> Strategy:
        """The strategy of that name that serves now, for what only it can do.

        Raises:
            UnknownStrategyError: if the chain has none.
        """
        return self._parts.chain.stage(name).strategy

    # -- what is kept

    def flush(self) -> None:
        """Return once everything routed and recorded so far is on disk and learnt."""
        self._parts.flush()

    def snapshot(self) -> None:
        """Save the learnt state now, so that the next start has less to replay."""
        self.flush()
        self._parts.learner.snapshot()

    def archive(self, before: float | None = None, *, older_than: timedelta | None = None) -> int:
        """Move old decisions, and their outcomes, to a compressed file.

        What was learnt from them is snapshotted first and stays. Afterwards the past can only be replayed from
        there: a strategy whose settings change starts from what is left.

        Args:
            before: Those that were made before a time, in seconds since the epoch.
            older_than: Or those of a greater age; give one of the two.

        Returns:
            How many decisions were moved to the ``archive`` folder beside the store.

        Raises:
            InvalidInputError: if the time is none, or the age is none or negative.
        """
        if older_than is not None and not (isinstance(older_than, timedelta) and older_than >= timedelta(0)):
            raise InvalidInputError(f"older_than: expected a timedelta of at least 0, got {older_than!r:.60}")
        if older_than is not None and before is None:
            before = time.time() - older_than.total_seconds()
        elif before is None or older_than is not None:
            raise InvalidInputError("archive: give a time as before, or an age as older_than, one of the two")
        return self._parts.upkeep.archive(check_time(before, "before"))[0]

    def backup(self, target: str | Path, *, verify: bool = True) -> BackupReport:
        """Copy the log, the versions and what was learnt to a folder, as they are now, while others go on writing.

        ``router restore`` puts them back. A backup holds the texts that the store holds, and ``forget`` does not reach
        into it.

        Args:
            target: A folder that does not exist yet, or is empty.
            verify: Replay the copied log, and compare what it gives with what was learnt.

        Raises:
            InvalidInputError: if the target is something else.
            StoreUnavailableError: if something cannot be read or written; nothing is left of the backup then.
            CorruptArtifactError: if the copy is not what it should be.
        """
        folder = place(target, "target")
        self._parts.store.writer.flush()
        replay = partial(verify_replay, reward=self.reward)
        return backup(self._parts.store, folder, replay if verify else None)

    def forget(self, session_id: str, *, tenant: str | None = None) -> int:
        """Erase what a session said: texts, features, vectors, responses and its id, from the files' raw bytes.

        Probabilities, rewards and labels stay; sums and fitted weights are not unlearnt.

        Args:
            session_id: Which.
            tenant: Whose session; None is that of tasks without a tenant.

        Returns:
            How many decisions were touched.

        Raises:
            StoreUnavailableError: if a reader keeps old pages, or another process is at work on the store's files; the
                log itself is erased then, and the rest is done as soon as it can be.
        """
        return self._parts.upkeep.forget(check_key(session_id, "session_id"), check_tenant(tenant))

    # -- the end

    def close(self) -> None:
        """Write and learn the rest, snapshot, and stop the threads. Closing twice is harmless."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _dropped(parts: Assembly) -> None:
    """The garbage collector found a router that nobody closed."""
    if parts.drop():
        warnings.warn(
            f"a router on {parts.store.engine.shown} was dropped without close()", ResourceWarning, stacklevel=2
        )
