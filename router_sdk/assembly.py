"""What a router is made of: its parts, put together at the start, told of forks, and ended in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from router_sdk.erasing import Eraser
from router_sdk.errors import RouterClosedError
from router_sdk.exchange.examples import Examples
from router_sdk.exchange.importing import Intake
from router_sdk.exchange.streams import Streams
from router_sdk.executors.choosing import chosen_executor
from router_sdk.experiments.experiments import Experiments
from router_sdk.experiments.lifecycle import Lifecycle
from router_sdk.experiments.off_policy import OffPolicy
from router_sdk.experiments.serving import ServingArms
from router_sdk.hookspecs import hookimpl
from router_sdk.learning.alerts import Alerts
from router_sdk.learning.calibration import Calibration
from router_sdk.learning.drift import Drift
from router_sdk.learning.fold import performance_fold, report_fold
from router_sdk.learning.learner import Learner
from router_sdk.learning.performance import Performance
from router_sdk.learning.scoring import Scoring
from router_sdk.learning.strategy_selection import StrategySelection
from router_sdk.lifetime import no_fork, unwatch, watch
from router_sdk.plugins import PluginRegistry
from router_sdk.recording import Recorder
from router_sdk.records import Agent, Decision, Outcome, Task
from router_sdk.rewards import OutcomeReward, RewardFunction, RewardMark, reward_name, with_metrics
from router_sdk.routing.agents import Members, Roster
from router_sdk.routing.chain import Chain
from router_sdk.routing.context import Encoders
from router_sdk.routing.decide import Decider
from router_sdk.routing.strategies import StrategySpec, Workshop
from router_sdk.store import Store
from router_sdk.store.access import AccessKeys
from router_sdk.store.agents import newest_agent
from router_sdk.training.canary import Canary
from router_sdk.training.fit import FitServices
from router_sdk.training.folds import Folds
from router_sdk.training.models import Models
from router_sdk.training.promoting import Promoter
from router_sdk.training.registry import Registry
from router_sdk.training.thresholds import ThresholdTuner
from router_sdk.training.trainer import Trainer
from router_sdk.training.watch import EVERY, Watch
from router_sdk.upkeep import Upkeep
from router_sdk.waiting import held_here

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.strategy import Strategy

_log = logging.getLogger(__name__)

_UNKNOWN_REWARD = (
    "whether the reward %s is the one that the store was learnt with cannot be known (%s): each start replays the log, "
    "and what was archived is not learnt again; give it an attribute 'fingerprint', a text that changes when it does"
)


class Assembly:
    """The parts of one router.

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
        self._open = self._closed = self._frozen = self._dropped = False
        self.plugins = PluginRegistry.load(plugins)
        given = reward or (self.plugins.reward(config.reward) if config.reward else OutcomeReward())
        self.reward = with_metrics(given, config.reward_metrics)
        self._reward_mark = RewardMark(self.reward)
        if self._reward_mark.unknown is not None:
            _log.warning(_UNKNOWN_REWARD, reward_name(self.reward), self._reward_mark.unknown)
        encoders = Encoders(self.plugins.encoders, config.encoder)
        with no_fork():  # from here on it closes its connections before a fork itself
            self.store = Store(
                config.store,
                privacy=config.privacy,
                queue_size=config.queue_size,
                on_commit=self._committed,
                read_only=config.read_only,
                timeout_s=config.store_timeout_seconds,
                engines=self.plugins.engines,
            )
            self._learner: Learner | None = None
            try:
                self._assemble(agents, strategies, encoders)
            except BaseException:
                self.store.close()
                raise
            watch(self, sigterm=config.handle_sigterm)

    def _assemble(
        self, agents: Iterable[Agent] | None, strategies: Sequence[StrategySpec] | None, encoders: Encoders
    ) -> None:
        config = self.config
        keep = None if config.read_only else self.store.parts.keep
        self._workshop = Workshop(config, self.plugins, encoders, self.store.folder, keep)
        chosen = self._workshop.chain(strategies)
        self.registry = Registry(self.store)
        opened = [self.registry.open(strategy) if config.fits else (strategy, None) for strategy in chosen]
        self.members = Members(self.store, agents)
        folds = Folds(config, self.registry, self.members, self._reward_mark)
        self.chain = Chain([folds.stage(*each) for each in opened], config.epsilon)
        self._workshop.claim(chosen)
        self.performance, self.drift, mark = Performance(), Drift(config.drift), self._reward_mark
        self.calibration = Calibration(config.tenancy, config.most_tenants)
        self.selection = StrategySelection.among(self.chain.comparable())
        kept = (self.calibration, self.drift if config.drift.enabled else None, self.selection)
        reports = [performance_fold(self.performance, mark), *(report_fold(it, mark) for it in kept if it is not None)]
        measured = self.performance.spending.mean
        self.decider = Decider(self.store, self.members, self.chain, self.plugins, encoders, measured, config.seed)
        self.learner = self._learner = Learner(
            self.store,
            folds.all(self.chain.stages, [version for _, version in opened], *reports),
            self.performance,
            self._reward_mark,
            enabled=config.learns,
            batch_events=config.batch_events,
            batch_seconds=config.batch_seconds,
            snapshot_seconds=config.snapshot_seconds,
            pending_ttl_seconds=config.pending_ttl_seconds,
            after_update=self._updated,
            on_poll=self._look_around,
        )
        self.recorder = Recorder(
            self.store, self.members, self.reward, self.plugins, self.learner, learn_now=config.learn_now
        )
        self.plugins.register(_Face(self), "router")
        self.hook = self.plugins.hook
        executor = chosen_executor(config.fit_executor, config.executor, self.plugins.fit_executors, self.store.engine)
        services = FitServices(self.store, config, self.reward, self.plugins, encoders, self.learner, executor)
        self.promoter = Promoter(services, self.registry, self.chain, self.members, folds.of)
        self.trainer = Trainer(
            services, self.registry, self.chain, self.members, self.performance, self.drift, self.promoter
        )
        self.watch = Watch(services, self.registry, self.chain, self.members, self.promoter)
        self.scoring = Scoring(config.quality, self.store, self.plugins)
        self.serving = ServingArms(
            services, self._workshop, folds, self.registry, self.chain, self.members, self.decider, self.calibration
        )
        self.lifecycle = Lifecycle(services, self._workshop, self.registry, self.chain, self.promoter, self.serving)
        off_policy = OffPolicy(services, self.registry, self.members, self.chain)
        self.experiments = Experiments(
            self.store, config, self.learner, self.lifecycle, self.serving, self.flush, off_policy
        )
        asked = (self.decider.favourite, lambda: self.members.roster.everyone.positions, self.warm_up)
        self.canary = Canary(config.gate, *asked)
        watched_by = (config.drift, self.store, self.performance, self.drift, self.plugins, self.canary.figures)
        self.alerts = Alerts(*watched_by)
        tuner = ThresholdTuner(services, self.registry, self.chain, self.members, folds.begun_again)
        told = (self.recorder, self.decider.vectors, self.flush, tuner)
        self.models = Models(self.chain, self.registry, self.trainer, self.promoter, *told)
        self.intake = Intake(self.store, self.recorder, self.members)
        self.examples = Examples(self.store, self.reward, self.intake)
        self.streams = Streams(self.store, self.recorder, self.members, self.plugins, config.batch_events)
        self.keys = AccessKeys(self.store.writer, self.store.reader)
        versions = (self.learner, self.registry)
        eraser = Eraser(self.store, self._reached, *versions, self.trainer, self._workshop.installed)
        sessions = (self.decider.sessions, self.serving)
        self.upkeep = Upkeep(
            self.store, config, eraser, sessions, *versions, self.promoter, self.trainer, self.intake.go_on
        )
        self._lock_holders = (
            *(self.members, self.store.reader, self.learner.folding, self.performance, encoders),
            *(self.decider.sessions, self.promoter, self.trainer.turns, self.upkeep, self.scoring),
        )
        self.members.on_change(self._prepare)
        self.serving.follow()  # the learner's thread is not there yet
        self._open = True
        self.store.on_news(self.learner.wake)
        self.learner.wake()

    def _reached(self) -> Mapping[str, Strategy]:
        """Whose memories ``forget`` reaches, by the name of their snapshots."""
        return {**{stage.name: stage.strategy for stage in self.chain.stages}, **self.serving.strategies()}

    def _updated(self) -> None:
        self.chain.calibrate(self.calibration)
        self.chain.compare(self.selection)
        self.chain.finish_published()
        if self._open:
            self.serving.learnt()
            self.watch.look(EVERY)
            self.trainer.consider()

    def _look_around(self) -> None:
        """About once a second, on the learner's thread."""
        self.members.follow()
        if self._dropped:
            threading.Thread(target=self.close, name="router-dropped").start()
        elif self._open:
            self.promoter.follow()
            self.serving.follow()
            self.lifecycle.look()
            self.watch.look()
            self.scoring.look()
            if self.config.learns:
                self.canary.look()
                self.alerts.look()
            self.trainer.consider()
            if not self.config.read_only:
                self.upkeep.look()

    def _prepare(self, roster: Roster) -> None:
        with self.learner.folding.lock:
            for stage in self.chain.stages:
                stage.prepare(roster.available)
            self.serving.prepare()
            self.calibration.agents_came(*self.store.reader.query(newest_agent))
            self.chain.calibrate(self.calibration)
            self.chain.compare(self.selection)
            self.chain.finish_published()
            self.serving.learnt()

    def _committed(self, outcomes: int) -> None:
        if self._learner is not None:
            self._learner.notify(outcomes)

    def flush(self) -> None:
        """Return once everything routed and recorded so far is on disk, scored and learnt."""
        self.store.writer.flush()
        self.scoring.look(everything=True)
        self.learner.drain()

    # -- status, the end, and forks

    def status(self) -> dict[str, Any]:
        """What the parts are doing, as JSON values."""
        roster = self.members.roster
        return {
            "store": {"path": self.store.engine.shown, "privacy": self.config.privacy, **self.store.reader.counts()},
            "queue": {"waiting": self.store.writer.waiting, "unlogged": self.decider.unlogged},
            "agents": {"all": list(roster.everyone.names), "available": list(roster.available.names)},
            "strategies": [
                {
                    "name": stage.name,
                    "model_version": stage.model_version,
                    "pinned": self.registry.champion(stage.name).pinned,
                    "behind": self.promoter.behind.get(stage.name),
                    "calibration": self.calibration.report(stage.name, stage.model_version),
                    **stage.status(),
                }
                for stage in self.chain.stages
            ],
            "selection": None if self.selection is None else self.selection.report(),
            "epsilon": self.chain.epsilon,
            "learner": self.learner.status(),
            "fit": None if self.trainer.turns.newest is None else self.trainer.turns.newest.to_dict(),
            "fits": [fit.to_dict() for fit in self.trainer.turns.running],
            "watch": self.watch.status(),
            "models": self.models.status(),
            "experiments": self.lifecycle.status(),
            "challengers": self.lifecycle.challengers(),
            "drift": self.drift.report(),
            "quality": self.scoring.status(),
            "canary": self.canary.status(),
            "alerts": self.alerts.status(),
            "upkeep": self.upkeep.status(),
            "streams": self.streams.status(),
            "quarantines": self.promoter.quarantines.status(),
        }

    def warm_up(self) -> dict[str, str]:
        """Wait for every strategy; those that cannot get ready, and why."""
        told = {stage.name: stage.warm_up() for stage in (*self.chain.stages, *self.serving.stages)}
        failed = {name: reason for name, reason in told.items() if reason is not None}
        for name, reason in failed.items():
            _log.warning("strategy %s is not ready: %s", name, reason)
        return failed

    def drop(self) -> bool:
        """Nobody holds the router any more: close it, on another thread, since this is the garbage collector's.

        Returns:
            Whether it was open.
        """
        if self._open:
            self._dropped = True
            self.learner.wake()
        return self._dropped

    def close(self, *, hurry: bool = False) -> None:
        """Learn and write the rest, snapshot, and stop the threads. Closing twice is harmless.

        A signal handler may call it, whatever it interrupted, ``close`` itself among it: each step may be taken again,
        and who was cut short may call it again for the rest. Where the handler interrupts what holds a lock that our
        threads may wait for, what is queued is written, and the rest is left to the next call, or the next start.
        """
        if self._closed:
            return
        self._open = False
        self.decider.closed = self.recorder.closed = True
        if any(held_here(holder.lock) for holder in self._lock_holders):
            self.store.writer.close()
            return
        error: Exception | None = None
        for step in (
            self.upkeep.close,
            self.trainer.turns.close,
            self.store.writer.flush,
            partial(self.learner.close, hurry=hurry, impatient=self._close_strategies),
            self.upkeep.leave,
            self.watch.close,
            self._close_strategies,
            self.store.close,
        ):
            try:
                step()
            except RouterClosedError:  # somebody was faster
                continue
            except Exception as fault:
                error = error or fault
                with suppress(Exception):  # whatever would wait for the log is told at once
                    self.store.writer.close(patient=False)
        self._closed = True
        unwatch(self)
        if error is not None:
            raise error

    def _close_strategies(self) -> None:
        self.serving.close()
        for stage in self.chain.stages:
            stage.close()

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
            self.decider.after_fork()
            self.promoter.after_fork()
            self.trainer.turns.after_fork()
            self.scoring.after_fork()
            self.watch.after_fork()
            self.upkeep.after_fork()
            self.serving.after_fork()
            for stage in self.chain.stages:
                stage.after_fork()


class _Face:
    """What ``router.hook`` calls: the two hooks that the router alone implements."""

    def __init__(self, parts: Assembly) -> None:
        self._parts = parts

    @hookimpl
    def route(self, task: Task) -> Decision:
        """Route a task."""
        decider = self._parts.decider
        return decider.log(decider.decide(Task.of(task)))

    @hookimpl
    def record(self, decision: Decision | str, outcome: Outcome) -> bool:
        """Record an outcome."""
        self._parts.recorder.record(decision, outcome, None, None)
        return True
