"""The engine under the public face: filter, propose, sample, log, learn."""

from __future__ import annotations

import atexit
import logging
import random
import time
import weakref
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import NoEligibleAgentError, RouterClosedError
from router_sdk.hookspecs import hookimpl
from router_sdk.learning.fold import Fold
from router_sdk.learning.learner import Learner
from router_sdk.learning.performance import Performance
from router_sdk.plugins import PluginRegistry
from router_sdk.records import Agent, AgentSet, Decision, Distribution, Outcome, Skipped, Task
from router_sdk.rewards import OutcomeReward, RewardFunction, checked_reward, reward_fingerprint
from router_sdk.routing.assembly import StrategySpec, build_strategies
from router_sdk.routing.chain import Chain, Stage
from router_sdk.routing.eligibility import Roster, eligible
from router_sdk.routing.forking import survive_forks
from router_sdk.routing.members import Members
from router_sdk.routing.request import Encoders, RequestContext, Sessions, Surroundings
from router_sdk.store import Store
from router_sdk.store.erasure import erase_session
from router_sdk.store.identity import check_id, check_key, keyed_id, new_id
from router_sdk.store.retention import archive_before
from router_sdk.store.snapshots import fingerprint
from router_sdk.store.ticket import Entry

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig

_UNLOGGED_NOTICE_S = 10.0

_log = logging.getLogger(__name__)


class Engine:
    """Everything that happens between a task and what is learnt from its outcome.

    Args:
        config: Settings.
        agents: This process's eligible set; None follows the store.
        strategies: The chain, see ``StrategySpec``; None takes what is installed.
        reward: Turns outcomes into rewards; None takes the configured one.
        plugins: Objects with hook implementations, beside the installed plugins.
    """

    def __init__(
        self,
        config: RouterConfig,
        agents: Iterable[Agent] | None,
        strategies: Sequence[StrategySpec] | None,
        reward: RewardFunction | None,
        plugins: Iterable[object],
    ) -> None:
        self.config = config
        self._open = self._frozen = False
        self.plugins = PluginRegistry.load(plugins)
        self.reward = reward or (self.plugins.reward(config.reward) if config.reward else OutcomeReward())
        encoders = Encoders(self.plugins.encoders, config.encoder)
        self.store = Store(
            config.store, privacy=config.privacy, queue_size=config.queue_size, on_commit=self._committed
        )
        self._learner: Learner | None = None
        try:
            self._assemble(agents, strategies, encoders)
        except BaseException:
            self.store.close()
            raise
        self._open = True
        survive_forks(self)
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def _assemble(
        self, agents: Iterable[Agent] | None, strategies: Sequence[StrategySpec] | None, encoders: Encoders
    ) -> None:
        config = self.config
        chosen = build_strategies(strategies, config, self.plugins, encoders, self.store.folder)
        self.chain = Chain([Stage(strategy) for strategy in chosen], config.epsilon)
        self.performance = Performance()
        self._random = random.Random(config.seed).random
        self._sessions = Sessions()
        self._shared = Surroundings(encoders, self._sessions, np.random.default_rng(config.seed))
        self._unlogged = 0
        self._unlogged_notice = 0.0
        self.members = Members(self.store, agents)
        self._filters = self.plugins.filters()
        self._observes_decisions = self.plugins.implements("on_decision")
        self._observes_outcomes = self.plugins.implements("on_outcome")
        self._narrows = bool(self._filters or self.chain.rules)
        self.plugins.register(_Face(self), "router")
        self.hook = self.plugins.hook
        self.learner = self._learner = Learner(
            self.store,
            self._folds(encoders),
            self.performance,
            self.reward,
            enabled=config.learning,
            batch_events=config.batch_events,
            batch_seconds=config.batch_seconds,
            snapshot_seconds=config.snapshot_seconds,
            pending_ttl_seconds=config.pending_ttl_seconds,
            after_update=self.chain.finish_published,
            on_poll=self.members.follow,
        )
        self.members.on_change(self._prepare)
        self.learner.wake()

    def _folds(self, encoders: Encoders) -> list[Fold]:
        reward = reward_fingerprint(self.reward)
        encoding = repr(sorted(self.config.encoder.items()))
        folds = [
            Fold(
                stage.name,
                stage.strategy,
                fingerprint(
                    stage.name, str(stage.strategy.state_version), repr(stage.strategy.config), reward, encoding
                ),
            )
            for stage in self.chain.stages
        ]
        return [*folds, Fold("performance", self.performance, fingerprint("performance", reward), journalled=False)]

    def _prepare(self, roster: Roster) -> None:
        with self.learner.folding:
            for stage in self.chain.stages:
                try:
                    stage.strategy.prepare(roster.available)
                except Exception as error:
                    stage.failed(error)
            self.chain.finish_published()

    def _committed(self, outcomes: int) -> None:
        if self._learner is not None:
            self._learner.notify(outcomes)

    # -- deciding

    def _eligible(self, task: Task, exclude: Collection[str], context: RequestContext) -> tuple[AgentSet, Any]:
        roster = self.members.roster
        if context.now >= roster.recheck_at:
            roster = self.members.recheck()
        if exclude or self._narrows or task.requires:
            return eligible(roster, task, exclude, self._filters, self.chain.rules, context)
        if not roster.available:
            raise NoEligibleAgentError("no agent is enabled and healthy; add one with add_agent")
        return roster.available, ()

    def decide(
        self, task: Task, exclude: Collection[str] = (), decision_id: str | None = None, *, remember: bool = True
    ) -> Decision:
        """Choose an agent, without logging it; ``remember`` adds it to the session's history."""
        if not self._open:
            raise RouterClosedError("the router was closed; make a new one on the same store")
        now = time.time()
        context = RequestContext(self._shared, task, now)
        agents, notes = self._eligible(task, exclude, context)
        drawn, skipped = self.chain.choose(task, agents, context)
        decision = self._draw(task, context, drawn, (*notes, *skipped) if notes else skipped, decision_id)
        if remember and task.session_id is not None and decision.agent is not None:
            self._sessions.remember(task.session_id, decision.agent)
        return decision

    def _draw(
        self,
        task: Task,
        context: RequestContext,
        drawn: Distribution,
        skipped: tuple[Skipped, ...],
        decision_id: str | None = None,
    ) -> Decision:
        agent: str | None = None
        propensity, explored = 1.0, False
        if drawn.weights:
            position = bisect_right(drawn.cumulative, self._random())
            agent = drawn.agents.names[position]
            propensity = drawn.weights[position]
            explored = position != drawn.favourite
        return Decision(
            decision_id or new_id(context.now),
            agent,
            task,
            context.now,
            propensity,
            explored,
            drawn,
            "routed",
            True,
            skipped,
            context.vectors,
        )

    def log(self, decision: Decision) -> Decision:
        """Queue a decision for the disk and tell the observers; never waits."""
        if not self.store.writer.offer(decision):
            decision.logged = False
            self._count_unlogged()
        if self._observes_decisions:
            self.plugins.notify("on_decision", decision=decision)
        return decision

    def _count_unlogged(self) -> None:
        self._unlogged += 1
        now = time.monotonic()
        if now - self._unlogged_notice > _UNLOGGED_NOTICE_S:
            self._unlogged_notice = now
            _log.error("the log's queue is full: %d decisions were not logged so far", self._unlogged)

    def decide_once(self, task: Task, exclude: Collection[str], key: str) -> Decision:
        """The decision for an idempotency key: made and written by whoever comes first, in any process."""
        decision_id = keyed_id(check_key(key, "idempotency_key"), task.tenant)
        known = self.store.reader.decision(decision_id)
        if known is None:
            made = self.decide(task, exclude, decision_id)
            self.store.writer.append((Entry(decision=made),))
            known = self.store.reader.known_decision(decision_id)
            if self._observes_decisions:
                self.plugins.notify("on_decision", decision=known)
        return known

    def decide_batch(self, tasks: Sequence[Task], exclude: Collection[str]) -> list[Decision]:
        """Decide for many tasks, those with the same eligible agents together; in the order of ``tasks``."""
        if not self._open:
            raise RouterClosedError("the router was closed; make a new one on the same store")
        now = time.time()
        contexts = [RequestContext(self._shared, task, now) for task in tasks]
        groups: dict[int, list[int]] = {}
        narrowed = []
        for i, (task, context) in enumerate(zip(tasks, contexts, strict=True)):
            narrowed.append(self._eligible(task, exclude, context))
            groups.setdefault(narrowed[i][0].set_id, []).append(i)
        decisions: dict[int, Decision] = {}
        for members in groups.values():
            answers = self.chain.choose_batch(
                [tasks[i] for i in members], narrowed[members[0]][0], [contexts[i] for i in members]
            )
            for i, (drawn, skipped) in zip(members, answers, strict=True):
                decisions[i] = self._draw(tasks[i], contexts[i], drawn, (*narrowed[i][1], *skipped))
        for decision in decisions.values():
            if decision.task.session_id is not None and decision.agent is not None:
                self._sessions.remember(decision.task.session_id, decision.agent)
        return [decisions[i] for i in range(len(tasks))]

    # -- recording

    def entry(self, decision: Decision | str, outcome: Outcome, outcome_id: str | None = None) -> Entry:
        """Check an outcome and make it ready for the log."""
        if not self._open:
            raise RouterClosedError("the router was closed; make a new one on the same store")
        if outcome_id is not None:
            check_key(outcome_id, "outcome_id")
        if outcome.correct_agent is not None:
            self.members.require_known(outcome.correct_agent)
        signals = outcome.signals()
        if not isinstance(decision, Decision):
            return self.store.entry(check_id(decision), outcome, signals, outcome_id=outcome_id)
        checked_reward(self.reward, signals, decision.agent)
        carried = None if decision.durable else decision
        return self.store.entry(
            decision.decision_id, outcome, signals, outcome_id=outcome_id, tenant=decision.task.tenant, decision=carried
        )

    def recorded(self, decision_ids: Iterable[str], outcome: Outcome) -> None:
        """Tell the observers of an outcome on disk, and learn now where that is asked for."""
        if self._observes_outcomes:
            for decision_id in decision_ids:
                self.plugins.notify("on_outcome", decision_id=decision_id, outcome=outcome)
        if self.config.learn_now:
            self.learner.drain()

    def observation(self, task: Task, agent: str | None, at: float | None = None) -> Decision:
        """A decision that somebody else made."""
        if agent is not None:
            self.members.require_known(agent)
        everyone = self.members.roster.everyone
        drawn = Distribution(everyone, (), -1, None, None, None, "observed", None, 0.0)
        moment = time.time() if at is None else at
        return Decision(new_id(moment), agent, task, moment, None, False, drawn, "observed")

    # -- status, the end, and forks

    def status(self) -> dict[str, Any]:
        """What the parts are doing, as JSON values."""
        roster = self.members.roster
        return {
            "store": {"path": str(self.store.path), "privacy": self.config.privacy, **self.store.reader.counts()},
            "queue": {"waiting": self.store.writer.waiting, "unlogged": self._unlogged},
            "agents": {"all": list(roster.everyone.names), "available": list(roster.available.names)},
            "strategies": [
                {
                    "name": stage.name,
                    "model_version": stage.model_version,
                    "confidence_threshold": stage.threshold,
                    "answers": stage.answers,
                    "failures": stage.failures,
                    **dict(stage.strategy.report()),
                }
                for stage in self.chain.stages
            ],
            "epsilon": self.chain.epsilon,
            "learner": self.learner.status(),
        }

    def archive(self, before: float) -> tuple[int, Path | None]:
        """Move decisions older than ``before`` out of the log, once what they taught is in a snapshot."""
        self.store.writer.flush()
        self.learner.drain()
        self.learner.resave()
        return archive_before(self.store.writer, self.store.folder, before, self.learner.saved)

    def forget(self, session_id: str) -> int:
        """Erase a session's payload from the log, the strategies' memories and their snapshots."""
        erased = erase_session(self.store.writer, check_key(session_id, "session_id"))
        self._sessions.forget(session_id)
        self.learner.drain()
        self.store.snapshots.discard()
        self.learner.resave()
        return len(erased)

    def close(self) -> None:
        """Learn and write the rest, snapshot, and stop the threads. Closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self._at_exit)
        try:
            self.store.writer.flush()
            self.learner.close()
        finally:
            self.store.close()

    def before_fork(self) -> None:
        """Hold what a child must not get half done, and close the connections: SQLite's do not survive a fork."""
        if self._open:
            self.members.before_fork()
            self.learner.before_fork()
            self.store.before_fork()
            self._frozen = True

    def after_fork_in_parent(self) -> None:
        """Let everything go on."""
        if self._frozen:
            self._frozen = False
            self.store.after_fork_in_parent()
            self.learner.after_fork_in_parent()
            self.members.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Reopen what cannot be shared: connections, threads, generators."""
        if self._frozen:
            self._frozen = False
            self.store.after_fork()
            self.learner.after_fork()
            self.members.after_fork()
            self._shared.after_fork()
            self._random = random.Random().random


def _close(engine: weakref.ref[Engine]) -> None:
    """Close a router that its program forgot, so that the last decisions are written."""
    found = engine()
    if found is not None:
        found.close()


class _Face:
    """What ``router.hook`` calls: the two hooks that the Router alone implements."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @hookimpl
    def route(self, task: Task) -> Decision:
        """Route a task."""
        return self._engine.log(self._engine.decide(Task.of(task)))

    @hookimpl
    def record(self, decision: Decision | str, outcome: Outcome) -> bool:
        """Record an outcome."""
        engine = self._engine
        entry = engine.entry(decision, outcome)
        engine.store.writer.append((entry,))
        engine.recorded([decision if isinstance(decision, str) else decision.decision_id], outcome)
        return True
