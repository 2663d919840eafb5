"""The engine under the public face: filter, propose, sample, log, learn."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.deciding import Deciding
from router_sdk.errors import RouterClosedError
from router_sdk.hookspecs import hookimpl
from router_sdk.learning.fold import Fold, performance_fold, strategy_fold
from router_sdk.learning.learner import Learner
from router_sdk.learning.performance import Performance
from router_sdk.plugins import PluginRegistry
from router_sdk.records import Agent, Decision, Distribution, Outcome, Task
from router_sdk.rewards import OutcomeReward, RewardFunction, checked_reward, reward_fingerprint
from router_sdk.routing.assembly import StrategySpec, build_strategies
from router_sdk.routing.chain import Chain, Stage
from router_sdk.routing.eligibility import Roster
from router_sdk.routing.forking import survive_forks
from router_sdk.routing.members import Members
from router_sdk.routing.request import Encoders
from router_sdk.store import Store
from router_sdk.store.erasure import erase_session
from router_sdk.store.identity import check_id, check_key, new_id
from router_sdk.store.retention import archive_before
from router_sdk.store.ticket import Entry
from router_sdk.training.attempt import FitServices
from router_sdk.training.promoting import Promoter
from router_sdk.training.registry import Registry
from router_sdk.training.trainer import Trainer

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.records import ModelVersion


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
        survive_forks(self)
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def _assemble(
        self, agents: Iterable[Agent] | None, strategies: Sequence[StrategySpec] | None, encoders: Encoders
    ) -> None:
        config = self.config
        chosen = build_strategies(strategies, config, self.plugins, encoders, self.store.folder)
        self.registry = Registry(self.store)
        opened = [self.registry.open(strategy) for strategy in chosen]
        self.chain = Chain(
            [Stage(strategy, None if version is None else version.version) for strategy, version in opened],
            config.epsilon,
        )
        self.performance = Performance()
        self.members = Members(self.store, agents)
        self.deciding = Deciding(self.store, self.members, self.chain, self.plugins, encoders, config.seed)
        self._observed = self.plugins.implements("on_outcome")
        self.plugins.register(_Face(self), "router")
        self.hook = self.plugins.hook
        self.learner = self._learner = Learner(
            self.store,
            [*self._folds([version for _, version in opened]), performance_fold(self.performance, self.reward)],
            self.performance,
            self.reward,
            enabled=config.learning,
            batch_events=config.batch_events,
            batch_seconds=config.batch_seconds,
            snapshot_seconds=config.snapshot_seconds,
            pending_ttl_seconds=config.pending_ttl_seconds,
            after_update=self._updated,
            on_poll=self._look_around,
        )
        services = FitServices(self.store, config, self.reward, self.plugins, encoders, self.learner)
        self.promoter = Promoter(services, self.registry, self.chain, self.members, self._fold_of)
        self.trainer = Trainer(services, self.registry, self.chain, self.members, self.performance, self.promoter)
        self.members.on_change(self._prepare)
        self._open = True
        self.learner.wake()

    def _folds(self, versions: Sequence[ModelVersion | None]) -> list[Fold]:
        folds = []
        for stage, version in zip(self.chain.stages, versions, strict=True):
            folds.append(self._fold_of(stage))
            if version is not None:
                folds[-1].cursor = folds[-1].saved = version.upto
        return folds

    def _fold_of(self, stage: Stage) -> Fold:
        encoding = repr(sorted(self.config.encoder.items()))
        return strategy_fold(stage.strategy, stage.model_version, reward_fingerprint(self.reward), encoding)

    def _updated(self) -> None:
        self.chain.finish_published()
        if self._open:
            self.trainer.consider()

    def _look_around(self) -> None:
        self.members.follow()
        if self._open:
            self.promoter.follow()

    def _prepare(self, roster: Roster) -> None:
        with self.learner.folding.lock:
            for stage in self.chain.stages:
                try:
                    stage.strategy.prepare(roster.available)
                except Exception as error:
                    stage.failed(error)
            self.chain.finish_published()

    def _committed(self, outcomes: int) -> None:
        if self._learner is not None:
            self._learner.notify(outcomes)

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
        if self._observed:
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
            "queue": {"waiting": self.store.writer.waiting, "unlogged": self.deciding.unlogged},
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
            "fit": None if self.trainer.fit is None else self.trainer.fit.to_dict(),
        }

    def archive(self, before: float) -> tuple[int, Path | None]:
        """Move decisions older than ``before`` out of the log, once what they taught is in a snapshot."""
        self.store.writer.flush()
        self.learner.drain()
        self.learner.resave()
        return archive_before(self.store.writer, self.store.folder, before, self.learner.folding.saved)

    def forget(self, session_id: str) -> int:
        """Erase a session's payload from the log, the strategies' memories and their snapshots."""
        erased = erase_session(self.store.writer, check_key(session_id, "session_id"))
        self.deciding.sessions.forget(session_id)
        self.learner.drain()
        self.store.snapshots.discard()
        for stage in self.chain.stages:
            self.registry.forget(stage.strategy, erased)
        self.learner.resave()
        return len(erased)

    def close(self) -> None:
        """Learn and write the rest, snapshot, and stop the threads. Closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        self.deciding.closed = True
        atexit.unregister(self._at_exit)
        try:
            self.trainer.close()
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
            self.deciding.after_fork()
            self.promoter.after_fork()
            self.trainer.after_fork()


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
        return self._engine.deciding.log(self._engine.deciding.decide(Task.of(task)))

    @hookimpl
    def record(self, decision: Decision | str, outcome: Outcome) -> bool:
        """Record an outcome."""
        engine = self._engine
        entry = engine.entry(decision, outcome)
        engine.store.writer.append((entry,))
        engine.recorded([decision if isinstance(decision, str) else decision.decision_id], outcome)
        return True
