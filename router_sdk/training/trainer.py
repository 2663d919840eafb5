"""Fits in the background: started by a trigger or by hand, one at a time, never in the way of requests."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from router_sdk.errors import (
    FAULTS,
    ChampionMovedError,
    FitError,
    FitStoppedError,
    InvalidConfigError,
    NotTrainableError,
    RouterClosedError,
    RouterError,
    StoreUnavailableError,
    TooFewExamplesError,
)
from router_sdk.gate import Comparison, Gate, HeldOutAccuracy
from router_sdk.private_files import PRIVATE_FILE, private_folder
from router_sdk.records.record import blame, describe
from router_sdk.setting_names import in_our_words
from router_sdk.store.artifacts import entry
from router_sdk.store.events import LearningEvent, write_learning_events
from router_sdk.store.registry import fits_since, forgotten_after, fresh_examples
from router_sdk.store.store import READ_ONLY
from router_sdk.strategy import Strategy
from router_sdk.training.attempt import Attempt, Source
from router_sdk.training.fit import Fit, FitState, score, summary
from router_sdk.training.promoting import SEPARATE
from router_sdk.triggers import Activity, ExampleCount

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.learning.performance import Performance
    from router_sdk.records import ModelVersion
    from router_sdk.routing.agents import Members
    from router_sdk.routing.chain import Chain, Stage
    from router_sdk.training.fit import FitServices
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry

_MOST_FRESH = 10_000
_PAUSE_S = 2.0
"""How long nothing is begun after a fit was interrupted."""
_TAKEN_S = 5.0
"""How long to let another process have the strategy that it fits."""

_STATUS: Mapping[FitState, Any] = {
    "promoted": "succeeded",
    "held": "refused",
    "refused": "refused",
    "stopped": "stopped",
    "failed": "failed",
}

_log = logging.getLogger(__name__)


class Trainer:
    """Starts fits, sees them through the gate, and promotes what passed.

    Args:
        services: What it shares with its attempts.
        registry: The versions.
        chain: Who proposes.
        members: The agents.
        performance: What is known of the outcomes.
        promoter: Who puts them into the chain.

    Attributes:
        fit: The newest fit of this process, or None.
    """

    def __init__(
        self,
        services: FitServices,
        registry: Registry,
        chain: Chain,
        members: Members,
        performance: Performance,
        promoter: Promoter,
    ) -> None:
        self._services, self._chain, self._members, self._performance = services, chain, members, performance
        self._registry, self._promoter = registry, promoter
        config, plugins = services.config, services.plugins
        self._triggers = [ExampleCount(config.retrain_interval, config.min_examples), *plugins.triggers]
        self._gate = Gate([HeldOutAccuracy(), *plugins.checks])
        self._automatic = config.retrain and config.learns and config.fits and any(self._fitted)
        self.lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._not_before = 0.0
        self.fit: Fit | None = None

    @property
    def _fitted(self) -> Iterator[Stage]:
        """The stages whose strategy has a fit."""
        return (stage for stage in self._chain.stages if trainable(stage.strategy))

    # -- when

    def consider(self) -> None:
        """Start a fit where a trigger says so, and the gate could judge its result.

        Called on the learner's thread after each update and about once a second, so that a fit that became due while
        another one ran, or by the clock alone, starts without an outcome.
        """
        if not self._automatic or self._busy or time.monotonic() < self._not_before:
            return
        for stage in self._fitted:
            if self._registry.champion(stage.name).pinned:
                continue
            activity = self._activity(stage)
            since = activity.seconds_since_fit
            if since is not None and 0 <= since < self._services.config.retrain_cooldown_seconds:
                continue
            reason = next(filter(None, (trigger.due(activity) for trigger in self._triggers)), None)
            if reason is not None and self._performance.usable >= self._gate.needs:
                self._start(stage, reason, {})
                return

    def _activity(self, stage: Stage) -> Activity:
        query = self._services.store.reader.query
        cursor, at = query(lambda connection: fits_since(connection, stage.name))
        statistics = self._performance.statistics()
        score, rate = statistics["current_model_score"], statistics["improvement_rate"]
        return Activity(
            strategy=stage.name,
            examples=statistics["total_examples"],
            fresh=query(lambda connection: fresh_examples(connection, cursor, _MOST_FRESH)),
            model_version=stage.model_version,
            recent_reward=score,
            earlier_reward=None if rate is None else score / (1.0 + rate),
            seconds_since_fit=None if at is None else time.time() - at,
        )

    @property
    def next_in(self) -> int | None:
        """Fresh examples until the next fit; None where nothing is fitted by count."""
        stage = next(self._fitted, None)
        if stage is None or not self._automatic:
            return None
        config, activity = self._services.config, self._activity(stage)
        return max(config.min_examples - activity.examples, config.retrain_interval - activity.fresh, 0)

    # -- by hand

    def retrain(self, strategy: str | None, settings: Mapping[str, Any], source: Source | None = None) -> Fit:
        """Start a fit, see ``Router.models.retrain``; with ``source``, from the made-up examples that it writes."""
        if not self._services.config.fits:
            raise NotTrainableError(SEPARATE)
        stage = next(self._fitted, None) if strategy is None else self._chain.stage(strategy)
        if stage is None or not trainable(stage.strategy):
            raise not_trainable(strategy or [one.name for one in self._chain.stages])
        if self._services.config.read_only:
            raise StoreUnavailableError(READ_ONLY)
        config = stage.strategy.config
        try:
            type(config)(**{**config.model_dump(exclude_unset=True), **settings})
        except ValidationError as error:
            raise InvalidConfigError(f"strategy {stage.name!r}: {describe(error)}{in_our_words(error)}") from None
        fit = self._start(stage, "by hand" if source is None else "pre-training", settings, source)
        if fit is None:
            if self._closed:
                raise RouterClosedError
            raise FitError("another fit is running: wait for it, or stop it, see Router.models.newest_fit")
        return fit

    # -- the fit itself

    @property
    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(
        self, stage: Stage, reason: str, settings: Mapping[str, Any], source: Source | None = None
    ) -> Fit | None:
        with self.lock:
            if self._closed or self._busy:
                return None
            self.fit = fit = Fit(stage.name, reason)
            self._thread = threading.Thread(
                target=self._run, args=(fit, stage, dict(settings), source), name="router-fit", daemon=True
            )
            self._thread.start()
            return fit

    def _run(self, fit: Fit, stage: Stage, settings: Mapping[str, Any], source: Source | None) -> None:
        """See one fit through; whatever happens, what serves goes on."""
        started = time.monotonic()
        plugins = self._services.plugins
        plugins.notify("on_fit_started", strategy=stage.name, reason=fit.reason)
        ending = Ending()
        try:
            with self.alone(stage.name):
                self._attempt(fit, stage, settings, source, ending)
        except Timeout:
            ending.state, ending.words, ending.noted = "stopped", "another process fits this strategy", False
            self._not_before = time.monotonic() + _TAKEN_S
        except TooFewExamplesError as fault:
            ending.end("refused", str(fault))
        except FitStoppedError as stop:
            ending.end("stopped", str(stop))
            ending.upto = ending.fresh_after
        except ChampionMovedError as fault:
            ending.end("held", str(fault))
        except FitError as fault:
            ending.end("failed", str(fault), fault.logged)
        except RouterError as fault:
            ending.end("failed", str(fault))
        except FAULTS as fault:
            _log.exception("the fit of %s failed", stage.name)
            ending.end("failed", f"{type(fault).__name__}: {fault}", blame(fault))
        _log.info("fit of %s: %s, %s", stage.name, ending.state, ending.words)
        if ending.noted:
            self._journal(fit, stage, ending, (time.monotonic() - started) * 1_000)
        fit.end(ending.state, ending.words, ending.version)
        number = None if ending.version is None else ending.version.version
        plugins.notify("on_fit_finished", strategy=stage.name, state=ending.state, version=number)

    def alone(self, strategy: str) -> FileLock:
        """Held by the process that fits a strategy, or finishes what a fit of it left.

        Entering it raises ``filelock.Timeout`` where another process holds it.
        """
        path = entry(private_folder(self._services.store.folder), f"fit-{strategy}.lock")
        return FileLock(path, 0, PRIVATE_FILE)

    def _attempt(
        self, fit: Fit, stage: Stage, settings: Mapping[str, Any], source: Source | None, ending: Ending
    ) -> None:
        """Fit, register, and promote what passes the gate."""
        query = self._services.store.reader.query
        ending.fresh_after, _ = query(lambda connection: fits_since(connection, stage.name))
        champion = self._registry.champion(stage.name)
        agents = self._members.roster.everyone
        needed = self._gate.needs
        places = [one.name for one in self._chain.stages]
        behind = self._chain.stages[places.index(stage.name) + 1 :]
        attempt = Attempt(self._services, stage, behind, settings, agents, ending.fresh_after, needed, source)
        ending.upto = attempt.upto
        report = ending.report = attempt.run(fit)
        parent = None if champion.version is None else self._registry.version(stage.name, champion.version)
        before, after = (score(figures, report.held_out) for figures in (report.before, report.after))
        unchanged = parent is not None and parent.data_hash == report.data_hash
        verdict = self._gate.judge(Comparison(stage.name, before, after, report.settings, unchanged))
        attempt.note_pretraining()
        folder = self._registry.new_folder(stage.name)
        attempt.hand_over(folder)
        while True:
            known, folder = self._without_forgotten(stage, folder, attempt.began)
            added = self._registry.add(
                stage.name,
                folder,
                report,
                verdict,
                kind=attempt.kind,
                parent=stage.model_version,
                upto=attempt.upto,
                settings=settings,
                metrics={**summary(report), "left_out": attempt.left_out},
                unless_forgotten_after=known,
                promote_after=None if champion.pinned else champion.token,
            )
            if added is not None:
                break
        ending.version, intent = added
        attempt.tidy()
        ending.end("refused", verdict.reason)
        if intent is not None:
            fit.progress(0.98, "bringing it up to date")
            number = ending.version.version
            self._promoter.promote_fitted(stage.name, number, verdict.reason, after=champion.token, intent=intent)
            ending.end("promoted", verdict.reason)
        elif verdict.passed:
            serving = "the strategy without any fit" if champion.version is None else f"version {champion.version}"
            ending.end("held", f"it passed the gate ({verdict.reason}), but a person pinned {serving}; see unpin")
        self._registry.prune(stage.name, self._services.config.keep_versions, self._services.config.keep_versions_s)

    def _without_forgotten(self, stage: Stage, folder: Path, began: int) -> tuple[int, Path]:
        """The new version's folder without what was forgotten while it was made, and the position of the newest."""
        missed = self._services.store.reader.query(lambda connection: forgotten_after(connection, began))
        if not missed:
            return began, folder
        ids = [decision_id for each in missed.values() for decision_id in each]
        new = self._registry.forgetting(stage.strategy, folder, ids)
        shutil.rmtree(folder, ignore_errors=True)
        return max(missed), new

    def _journal(self, fit: Fit, stage: Stage, ending: Ending, took_ms: float) -> None:
        report, version = ending.report, ending.version
        event = LearningEvent(
            stage.name,
            "fit",
            0 if report is None else report.examples,
            ending.upto,
            took_ms,
            0 if report is None else report.examples + report.held_out,
            None if report is None else report.before.value,
            None if report is None else report.after.value,
            None if ending.state == "promoted" else f"{ending.state}: {ending.said}",
            None if version is None else version.version,
            _STATUS[ending.state],
            fit.reason,
            None if report is None else report.fine_tuned,
        )
        try:
            write_learning_events(self._services.store.writer, [event])
        except RouterError:
            _log.exception("the end of a fit could not be written down")

    # -- the end

    def interrupt(self) -> None:
        """Stop what is running, and return once it has ended; it may be begun again."""
        with self.lock:
            fit, thread = self.fit, self._thread
            self._not_before = time.monotonic() + _PAUSE_S
        if fit is not None:
            fit.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        """Stop what is running; the next fit goes on from its checkpoints."""
        with self.lock:
            self._closed = True
        self.interrupt()

    def after_fork(self) -> None:
        """In a child: nothing is running."""
        self.lock = threading.RLock()
        self._thread = self.fit = None


@dataclass(slots=True)
class Ending:
    """How a fit ended.

    Attributes:
        state: In which state.
        words: Why, for who waits for it.
        said: Why, for the log: without the words of a foreign error, which may quote what people wrote.
        noted: Whether it is an attempt that counts.
    """

    state: FitState = "failed"
    words: str = "it ended without a result"
    said: str = "it ended without a result"
    noted: bool = True
    upto: int = 0
    fresh_after: int = 0
    report: FitReport | None = None
    version: ModelVersion | None = None

    def end(self, state: FitState, words: str, said: str | None = None) -> None:
        """Note it."""
        self.state, self.words, self.said = state, words, words if said is None else said


def trainable(strategy: Strategy) -> bool:
    """Whether a strategy has a fit."""
    return type(strategy).fit is not Strategy.fit


def not_trainable(names: object) -> NotTrainableError:
    """What to say where there is nothing to fit."""
    return NotTrainableError(
        f"{names}: learns online only, there is nothing to fit; router-sdk-bert brings a strategy that is fitted"
    )
