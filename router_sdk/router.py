"""The public face: one object that an orchestrator talks to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.engine import Engine
from router_sdk.errors import UnknownDecisionError
from router_sdk.evaluation.labelled import Evaluation, Label, judge
from router_sdk.exchange.exporting import ExportFormat, export_examples
from router_sdk.exchange.history import History
from router_sdk.exchange.importing import ImportReport, Observation, import_examples
from router_sdk.exchange.labels import observations, paired
from router_sdk.learning.performance import AgentPerformance
from router_sdk.records import Agent, Decision, Outcome, Task, agents_of
from router_sdk.rewards import RewardFunction
from router_sdk.routing.assembly import StrategySpec
from router_sdk.routing.calls import Call
from router_sdk.store.activity import answered, learning_events, passed
from router_sdk.store.identity import check_id, check_key
from router_sdk.store.journal import dead_letters, learning_totals
from router_sdk.store.ticket import Entry

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


class Router:
    """Decides which agent gets which task, and gets better at it from what happened.

    Thread-safe. Use it as a context manager, or call ``close``.

    Args:
        agents: Who can be chosen: ``Agent`` records, names, or mappings of an agent's fields. None follows
            what the store knows.
        strategies: The chain; the first that does not abstain decides. Names, ``(name, settings)`` pairs,
            ``Strategy`` classes or objects. None takes those of bert, thompson and heuristic that are installed.
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
        self._engine = Engine(configured, members, chain, reward, plugins)
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

    def route(self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None) -> Decision:
        """Choose an agent for a task. Does no I/O and never waits, unless an idempotency key is given.

        Args:
            task: What is to be done.
            exclude: Names that must not be chosen.
            idempotency_key: The same key gives the same decision, in every process on this store; it is looked
                up on disk, and a new decision is on disk before this returns.

        Raises:
            InvalidTaskError: if there is nothing to route by.
            NoEligibleAgentError: if nobody is left to choose from.
            RouterClosedError: after ``close``.
        """
        if not isinstance(task, Task):
            task = Task.of(task)
        engine = self._engine
        if idempotency_key is not None:
            return engine.decide_once(task, exclude, idempotency_key)
        return engine.log(engine.decide(task, exclude))

    async def aroute(
        self, task: TaskLike, *, exclude: Collection[str] = (), idempotency_key: str | None = None
    ) -> Decision:
        """``route`` for coroutines; with an idempotency key it runs in a thread, because it reads the disk."""
        if idempotency_key is None:
            return self.route(task, exclude=exclude)
        return await asyncio.to_thread(self.route, task, exclude=exclude, idempotency_key=idempotency_key)

    def route_batch(self, tasks: Iterable[TaskLike], *, exclude: Collection[str] = ()) -> list[Decision]:
        """Choose agents for many tasks, in their order; strategies see them together."""
        decisions = self._engine.decide_batch([Task.of(task) for task in tasks], exclude)
        return [self._engine.log(decision) for decision in decisions]

    def rank(self, task: TaskLike, *, top_k: int | None = None, exclude: Collection[str] = ()) -> list[Ranked]:
        """Eligible agents, best first; nothing is logged and nothing explored.

        Empty where the strategy says that no agent fits.
        """
        drawn = self._engine.decide(Task.of(task), exclude, remember=False).distribution
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

    def record(self, decision: Decision | str, outcome: OutcomeLike, *, outcome_id: str | None = None) -> None:
        """Log what happened; returns only when it is on disk. Parts may come late, repeated and in any order.

        Args:
            decision: A decision, or its id; an id whose decision is not logged yet waits for it.
            outcome: All that is known now; a later part wins, field by field.
            outcome_id: Your own id of this delivery: a second one with the same id is not stored.

        Raises:
            InvalidOutcomeError: if a value is not finite or out of range.
            InvalidIdError: if an id is malformed.
            UnknownAgentError: if the label names nobody known.
            StoreUnavailableError: if it could not be written; nothing of it is stored.
        """
        outcome = Outcome.of(outcome)
        self._writer.append((self._engine.entry(decision, outcome, outcome_id),))
        self._engine.recorded([_id_of(decision)], outcome)

    async def arecord(self, decision: Decision | str, outcome: OutcomeLike, *, outcome_id: str | None = None) -> None:
        """``record`` for coroutines: many of them share one commit."""
        outcome = Outcome.of(outcome)
        await self._writer.aappend((self._engine.entry(decision, outcome, outcome_id),))
        if self.config.learn_now:
            await asyncio.to_thread(self._engine.recorded, [_id_of(decision)], outcome)
        else:
            self._engine.recorded([_id_of(decision)], outcome)

    def record_session(self, session_id: str, outcome: OutcomeLike) -> int:
        """Log one outcome for every decision of a session, and return how many there are.

        Raises:
            UnknownDecisionError: if the session has none.
        """
        outcome = Outcome.of(outcome)
        self._writer.flush()
        ids = self._engine.store.reader.session_decisions(check_key(session_id, "session_id"))
        if not ids:
            raise UnknownDecisionError(f"session {session_id!r} has no decisions in the log")
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

    def decision(self, decision_id: str) -> Decision:
        """A logged decision.

        Raises:
            InvalidIdError: if the id is malformed.
            UnknownDecisionError: if the log does not hold it.
        """
        self._writer.flush()
        return self._engine.store.reader.known_decision(check_id(decision_id))

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

    # -- reports

    @property
    def examples(self) -> History:
        """The joined examples, oldest first, read when asked for: ``router.examples[-5:]``."""
        return History(self._engine.store, self._engine.reward)

    def statistics(self) -> dict[str, Any]:
        """Totals over this log, as far as this process has learnt it.

        Keys: ``total_examples, retrain_count, label_distribution, next_retrain_in, feedback_rate`` (share of
        examples with explicit feedback), ``avg_quality_score, positive_feedback_rate, total_updates,
        successful_updates, failed_updates, avg_update_time_ms, samples_processed, current_model_score`` (mean
        reward of the last 100 outcomes) and ``improvement_rate`` (relative to the 100 before).
        """
        totals = self._engine.store.reader.query(learning_totals)
        retrained = {"retrain_count": totals.pop("fits"), "next_retrain_in": None}
        return {**self._engine.performance.statistics(), **retrained, **totals}

    def agent_performance(self, *, task_type: str | None = None, top_k: int | None = None) -> list[AgentPerformance]:
        """Reports of this process's agents, best first, with score and rank.

        Args:
            task_type: Count this type only.
            top_k: How many to recommend; None reports on all.
        """
        names = self._engine.members.roster.everyone.names
        return self._engine.performance.agents(names, task_type)[:top_k]

    def status(self, *, last: int = 5) -> dict[str, Any]:
        """Everything that ``router status`` shows, as JSON values.

        Args:
            last: How many of the newest updates and dead letters.
        """
        reader = self._engine.store.reader
        return {
            **self._engine.status(),
            "answered": reader.query(answered),
            "passed": reader.query(passed),
            "performance": [one.to_dict() for one in self.agent_performance()],
            "statistics": self.statistics(),
            "learning_events": reader.query(lambda connection: learning_events(connection, last)),
            "dead_letters": self.dead_letters(last),
        }

    def dead_letter(self, kind: str, reason: str, *, body: str | None = None) -> None:
        """Keep what could not be understood or delivered, with the reason; privacy applies to both."""
        self._engine.store.refuse([(kind, None, reason, body)])

    def dead_letters(self, limit: int = 100) -> list[Mapping[str, Any]]:
        """What was refused in batches, and why, newest first."""
        return self._engine.store.reader.query(lambda connection: dead_letters(connection, limit))

    # -- files and labels

    def export_examples(
        self,
        path: str | Path,
        *,
        format: ExportFormat = "jsonl",
        min_reward: float | None = None,
    ) -> int:
        """Write the examples to a file, whole or not at all, and return how many.

        Args:
            path: Where to.
            format: ``jsonl``, ``csv``, or pairs of text and response as ``chatml``, ``alpaca``, ``completion``.
            min_reward: Leave out what was rewarded less.
        """
        self._writer.flush()
        return export_examples(self.examples.with_responses(), Path(path), format, min_reward)

    def import_examples(self, path: str | Path) -> ImportReport:
        """Log every line of a JSONL or CSV file (``.gz`` too) as an observed decision.

        A line has a task's fields, ``agent`` or ``label``, and an outcome's fields. A malformed one is reported
        and becomes a dead letter; the others are imported.

        Raises:
            InvalidInputError: if the file cannot be read.
        """
        report, letters = import_examples(Path(path), self._check_observation, self.observe_batch)
        self._engine.store.refuse(letters)
        return report

    def _check_observation(self, observed: Observation) -> None:
        task, agent, outcome = observed
        decision = self._engine.observation(task, agent)
        if outcome is not None:
            self._engine.entry(decision, outcome)

    def fit(self, X: Sequence[TaskLike], y: Sequence[Label]) -> Router:  # noqa: N803
        """Log labelled tasks, and learn from them before this returns.

        Args:
            X: Tasks, or texts.
            y: For each the right agent's name, None for "no agent fits", or a score in [0, 1] per agent.
        """
        observed = list(observations(paired(X, y)))
        for item in observed:
            self._check_observation(item)
        self.observe_batch(observed)
        self.flush()
        return self

    def evaluate(self, X: Sequence[TaskLike], y: Sequence[Label]) -> Evaluation:  # noqa: N803
        """Compare the favourites with labels or scores, see ``fit``; nothing is logged, learnt or explored."""
        pairs = paired(X, y)
        drawn = [self._engine.decide(task, remember=False).distribution for task, _ in pairs]
        chosen = [found.ranking[0] if found.weights else None for found in drawn]
        names = self._engine.members.roster.everyone.names
        return judge(chosen, [label for _, label in pairs], names, [found.confidence for found in drawn])

    # -- the end

    def flush(self) -> None:
        """Return once everything routed and recorded so far is on disk and learnt."""
        self._writer.flush()
        self._engine.learner.drain()

    def snapshot(self) -> None:
        """Save the learnt state now, so that the next start has less to replay."""
        self.flush()
        self._engine.learner.snapshot()

    def archive(self, before: float) -> int:
        """Move decisions made before a time (seconds since the epoch), and their outcomes, to a compressed file.

        What was learnt from them is snapshotted first and stays. Afterwards the past can only be replayed from
        there: a strategy whose settings change starts from what is left.

        Returns:
            How many decisions were moved to the ``archive`` folder beside the store.
        """
        return self._engine.archive(before)[0]

    def forget(self, session_id: str) -> int:
        """Erase what a session said: texts, features, vectors, responses and its id, from the files' raw bytes.

        Probabilities, rewards and labels stay; sums and fitted weights are not unlearnt.

        Returns:
            How many decisions were touched.

        Raises:
            StoreUnavailableError: if another process's reader keeps old pages; call again.
        """
        return self._engine.forget(session_id)

    def close(self) -> None:
        """Write and learn the rest, snapshot, and stop the threads. Closing twice is harmless."""
        self._engine.close()

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _id_of(decision: Decision | str) -> str:
    return decision if isinstance(decision, str) else decision.decision_id
