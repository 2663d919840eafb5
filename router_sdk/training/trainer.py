"""Fits in the background: started by a trigger or by hand, each in its turn, never in the way of requests."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router_sdk.errors import (
    FAULTS,
    ChampionMovedError,
    FitError,
    FitStoppedError,
    InvalidConfigError,
    NotTrainableError,
    RouterError,
    StoreUnavailableError,
    TooFewExamplesError,
)
from router_sdk.gate import Gate
from router_sdk.records import version_name
from router_sdk.records.record import blame, describe
from router_sdk.setting_names import in_our_words
from router_sdk.store.events import LearningEvent, write_learning_events
from router_sdk.store.registry import forgotten_after
from router_sdk.store.store import READ_ONLY
from router_sdk.strategy import Strategy
from router_sdk.training.attempt import Attempt, Source
from router_sdk.training.brought import Brought, Exported
from router_sdk.training.checks import checks_of
from router_sdk.training.fit import Ending, Fit, FitState, comparison, summary
from router_sdk.training.promoting import BY_HAND, SEPARATE
from router_sdk.training.triggering import Triggering, trainable
from router_sdk.training.turns import Asked, Turns

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.learning.drift import Drift
    from router_sdk.learning.performance import Performance
    from router_sdk.routing.agents import Members
    from router_sdk.routing.chain import Chain, Stage
    from router_sdk.training.fit import FitServices
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry

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
        drift: What is not as it was.
        promoter: Who puts them into the chain.

    Attributes:
        triggering: When a fit starts by itself.
        turns: Which fits run and wait in this process.
    """

    def __init__(
        self,
        services: FitServices,
        registry: Registry,
        chain: Chain,
        members: Members,
        performance: Performance,
        drift: Drift,
        promoter: Promoter,
    ) -> None:
        self._services, self._chain, self._members = services, chain, members
        self._registry, self._promoter = registry, promoter
        self._gate = Gate([*checks_of(services.config, services.reward), *services.plugins.checks])
        self.triggering = Triggering(services, chain, performance, self._gate.needs, drift.changes)
        most, engine = services.config.parallel_fits, services.store.engine
        self.turns = Turns(
            lambda: engine.lease("fit"), most, self._run, lambda strategy: self.triggering.last(strategy).number
        )

    # -- by itself

    def consider(self) -> None:
        """Start the fit that was asked for next, or one where a trigger says so, and nothing is in the way.

        Called on the learner's thread after each update and about once a second, so that a fit that became due while
        another one ran, or by the clock alone, starts without an outcome.
        """
        self.turns.go_on()
        if self.turns.idle:
            due = self.triggering.due(self.turns.busy)
            if due is not None:
                fit = Fit(due.stage.name, due.reason, triggered=True)
                self.turns.begin(Asked(fit, due.stage, {}, None), due.after)

    # -- by hand

    def retrain(
        self, strategy: str | None, settings: Mapping[str, Any], source: Source | None = None, reason: str = BY_HAND
    ) -> Fit:
        """Start a fit, see ``Router.models.retrain``; with ``source``, from what that brings."""
        stage = self.stage(strategy, brought=isinstance(source, Brought))
        if self._services.config.read_only:
            raise StoreUnavailableError(READ_ONLY)
        config = stage.strategy.config
        try:
            type(config)(**{**config.model_dump(exclude_unset=True), **settings})
        except ValidationError as error:
            raise InvalidConfigError(f"strategy {stage.name!r}: {describe(error)}{in_our_words(error)}") from None
        return self.turns.ask(Asked(Fit(stage.name, reason), stage, dict(settings), source))

    def stage(self, strategy: str | None, *, brought: bool = False) -> Stage:
        """Whom to fit; None is the first in the chain that has a fit. What is ``brought`` needs only be loaded."""
        if not self._services.config.fits:
            raise NotTrainableError(SEPARATE)
        fitted = (stage for stage in self._chain.stages if trainable(stage.strategy))
        stage = next(fitted, None) if strategy is None else self._chain.stage(strategy)
        loadable = brought and stage is not None and type(stage.strategy).load is not Strategy.load
        if stage is None or not (trainable(stage.strategy) or loadable):
            raise not_trainable(strategy or [one.name for one in self._chain.stages])
        return stage

    # -- the fit itself

    def _run(self, asked: Asked, after: int) -> None:
        """See one fit through, unless another process is at it, or was since it was asked for."""
        fit, stage, settings, source = asked
        imported = isinstance(source, Exported)
        ending = Ending("stopped", "another process fits on this store", noted=False, imported=imported)
        try:
            with self.turns.among_processes():
                self._see_through(fit, stage, settings, after, source, ending)
        except TimeoutError:
            self.turns.rest(_TAKEN_S)
        except FAULTS as fault:
            ending.end("failed", f"{type(fault).__name__}: {fault}", blame(fault))
        finally:
            _log.info("fit of %s: %s, %s", stage.name, ending.state, ending.words)
            fit.end(ending.state, ending.words, ending.version)
        if ending.noted:
            number = None if ending.version is None else ending.version.version
            self._services.plugins.notify("on_fit_finished", strategy=stage.name, state=ending.state, version=number)
        self.turns.go_on()

    def _see_through(
        self,
        fit: Fit,
        stage: Stage,
        settings: Mapping[str, Any],
        after: int,
        source: Source | None,
        ending: Ending,
    ) -> None:
        """Whatever happens, what serves goes on, and how it ended is in the log before another process may fit."""
        started = time.monotonic()
        try:
            if self.triggering.last(stage.name).number != after:
                ending.end("stopped", "another process has fitted this strategy meanwhile")
                return
            ending.noted = True
            ending.fresh_after = self.triggering.last(stage.name).cursor
            if not ending.imported:
                self._begin(fit, stage, ending.fresh_after)
            self._services.plugins.notify("on_fit_started", strategy=stage.name, reason=fit.reason)
            self._attempt(fit, stage, settings, source, ending)
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
        if ending.noted:
            self._journal(fit, stage, ending, (time.monotonic() - started) * 1_000)

    def _attempt(
        self, fit: Fit, stage: Stage, settings: Mapping[str, Any], source: Source | None, ending: Ending
    ) -> None:
        """Fit, register, and promote what passes the gate."""
        champion = self._registry.champion(stage.name)
        agents = self._members.roster.everyone
        needed = self._gate.needs
        places = [one.name for one in self._chain.stages]
        behind = self._chain.stages[places.index(stage.name) + 1 :]
        attempt = Attempt(self._services, stage, behind, settings, agents, ending.fresh_after, needed, source)
        ending.upto = attempt.upto
        report = ending.report = attempt.run(fit)
        judged_by = self._services.config.promotion if fit.triggered and champion.version is not None else "gate"
        by_hand = attempt.waits_for_a_person(champion.version)
        parent = None if champion.version is None else self._registry.version(stage.name, champion.version)
        verdict = self._gate.judge(comparison(report, parent))
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
                metrics={**summary(report), **attempt.metrics, "left_out": attempt.left_out},
                unless_forgotten_after=known,
                promote_after=None if champion.pinned or by_hand else champion.token,
                challenges=judged_by != "gate" and not champion.pinned,
                dataset=attempt.dataset,
            )
            if added is not None:
                break
        ending.version, intent = added
        attempt.tidy()
        ending.end("refused", verdict.reason)
        passed = f"it passed the gate ({verdict.reason})"
        if intent is not None:
            fit.progress(0.98, "bringing it up to date")
            number = ending.version.version
            self._promoter.promote_fitted(stage.name, number, verdict.reason, after=champion.token, intent=intent)
            ending.end("promoted", verdict.reason)
        elif verdict.passed and by_hand:
            ending.end("held", f"{passed}; promote it to let it serve")
        elif verdict.passed and judged_by != "gate" and not champion.pinned:
            how = "an experiment decides" if judged_by == "experiment" else "promote it to let it serve"
            ending.end("held", f"{passed}, and challenges version {champion.version}: {how}")
        elif verdict.passed:
            ending.end("held", f"{passed}, but a person pinned {version_name(champion.version)}; see unpin")
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

    def _begin(self, fit: Fit, stage: Stage, cursor: int) -> None:
        """Log that an attempt begins: should the process be killed in it, the cooldown counts from here.

        What was fresh before is so afterwards: ``cursor`` is where the attempt before ended.
        """
        event = LearningEvent(stage.name, "begin", 0, cursor, 0.0, 0, reason=fit.reason)
        write_learning_events(self._services.store.writer, [event])

    def _journal(self, fit: Fit, stage: Stage, ending: Ending, took_ms: float) -> None:
        report, version = ending.report, ending.version
        event = LearningEvent(
            stage.name,
            "import" if ending.imported else "fit",
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


def not_trainable(names: object) -> NotTrainableError:
    """What to say where there is nothing to fit."""
    return NotTrainableError(
        f"{names}: learns online only, there is nothing to fit; router-sdk-bert brings a strategy that is fitted"
    )
