"""The arms of the experiments that run, in this process: made, kept up to date, asked, and taken away again.

The log says which there are; every process on the store follows it, and makes the same of it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, RouterError, UnknownVersionError, let_end
from router_sdk.experiments.arms import Arm, ServingArm
from router_sdk.experiments.shadows import Shadows
from router_sdk.learning.restoring import restore
from router_sdk.learning.strategy_selection import SELECTION, StrategySelection
from router_sdk.records.record import blame
from router_sdk.routing.assignment import Assignment, Sessions, pieces_of
from router_sdk.routing.chain import Chain, ChainBeside, Stage
from router_sdk.store.experiments import CHAMPION_ARM, experiments, experiments_token
from router_sdk.training.registry import stage_of, twin

if TYPE_CHECKING:
    from router_sdk.learning.calibration import Calibration
    from router_sdk.learning.fold import Fold
    from router_sdk.records import ModelVersion
    from router_sdk.routing.agents import Members
    from router_sdk.routing.decide import Decider
    from router_sdk.routing.strategies import Workshop
    from router_sdk.store.experiments import ExperimentRecord
    from router_sdk.strategy import Strategy
    from router_sdk.training.fit import FitServices
    from router_sdk.training.folds import Folds
    from router_sdk.training.registry import Registry

_LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class ServingArms:
    """All of them. Changed on the learner's thread alone.

    Args:
        services: The log, and who learns from it.
        workshop: Makes strategies.
        folds: Makes what they learn by.
        registry: Fitted versions.
        chain: The configured chain, which is the champion's.
        members: The agents.
        decider: Who is told what serves.
        calibration: What confidences came to.

    Attributes:
        behind: Arms that cannot be served here, as ``EXPERIMENT/ARM``, and why.
        records: The experiments, oldest first, as of the last look.
    """

    def __init__(
        self,
        services: FitServices,
        workshop: Workshop,
        folds: Folds,
        registry: Registry,
        chain: Chain,
        members: Members,
        decider: Decider,
        calibration: Calibration,
    ) -> None:
        self._store, self._learner = services.store, services.learner
        self._apart = services.config.tenancy != "shared"
        self._workshop, self._folds, self._registry = workshop, folds, registry
        self._chain, self._members, self._decider, self._calibration = chain, members, decider, calibration
        self._arms: dict[tuple[str, str], ServingArm] = {}
        self._sessions: dict[str, Sessions] = {}
        self._token = -1
        self._again_at, self._pause_s = 0.0, 0.0
        self._shadows = Shadows(services.store, members, services.encoders)
        services.learner.folding.ahead = self._shadows.ask
        self.behind: dict[str, str] = {}
        self.records: tuple[ExperimentRecord, ...] = ()

    # -- following the log

    def follow(self) -> None:
        """Serve what the log says. Called on the learner's thread; what cannot be made now is tried again."""
        token = self._store.reader.query(experiments_token)
        if token == self._token and not (self.behind and time.monotonic() >= self._again_at):
            return
        self.records = tuple(self._store.reader.query(experiments))
        wanted = {
            (record.name, fields["name"]): (record, Arm.of(_spec(fields)), fields)
            for record in self.records
            for fields in record.arms
            if record.open or (record is self.latched and fields["name"] == record.winner)
        }
        self.behind = {}
        if self._apart:  # an arm would learn from all tenants what one of them said
            self.behind = {"/".join(key): "tenants learn apart here: all tasks are the champion's" for key in wanted}
            self._token, self._again_at = token, math.inf
            return
        for key in wanted.keys() - self._arms.keys():
            self._come(key, *wanted[key])
        gone = [self._arms.pop(key) for key in self._arms.keys() - wanted.keys()]
        self._publish()
        for arm in gone:
            self._learner.folding.take_out(arm.all_folds)
            arm.close()
        self._token = token
        self._pause_s = min(_LONGEST_PAUSE_S, max(1.0, 2.0 * self._pause_s)) if self.behind else 0.0
        self._again_at = time.monotonic() + self._pause_s

    @property
    def running(self) -> ExperimentRecord | None:
        """The experiment whose challengers serve."""
        return next((one for one in self.records if one.open and one.serves), None)

    @property
    def latched(self) -> ExperimentRecord | None:
        """The experiment whose winning chain serves all, until it is what is configured."""
        return next((one for one in reversed(self.records) if one.keeps_serving), None)

    def _publish(self) -> None:
        """Tell the decider, by one reference each."""
        latched, running = self.latched, self.running
        won = None if latched is None else self._arms.get((latched.name, str(latched.winner)))
        self._shadows.go_on_with([arm for arm in self._arms.values() if arm.spec.shadow and arm is not won])
        chain = self._chain
        if latched is not None and won is not None and not self.configured(latched):
            chain = won.chain
        self._decider.chain = chain
        if running is None:
            self._decider.assignment = None
            self._sessions.clear()
            return
        sessions = self._sessions.setdefault(running.name, Sessions())
        chains = {name: arm.chain for (of, name), arm in self._arms.items() if of == running.name}
        pieces = pieces_of([shares for _, shares in running.steps], CHAMPION_ARM)
        self._decider.assignment = Assignment(running.name, {CHAMPION_ARM: chain, **chains}, chain, pieces, sessions)

    def configured(self, record: ExperimentRecord) -> bool:
        """Whether the chain that won is what is configured here; one that is frozen never is."""
        arm = record.arm(str(record.winner))
        try:
            made = self._workshop.arm(arm["strategies"], "asked")
        except RouterError:  # it cannot be made here
            return False
        for strategy in made:
            strategy.close()
        own = [(stage.name, stage.strategy.config.model_dump()) for stage in self._chain.stages]
        return bool(arm["learning"]) and own == [(one.name, one.config.model_dump()) for one in made]

    # -- arms come and go

    def _come(self, key: tuple[str, str], record: ExperimentRecord, spec: Arm, fields: Mapping[str, Any]) -> None:
        own: list[Stage] = []
        try:
            own, folds = self._made(record, spec, fields)
            chain = Chain(own, self._chain.epsilon)
            serves = chain
            if spec.version is not None:
                serves = ChainBeside(self._chain, own[0], folds[0].name)
            compared = self._comparison(record, spec, serves)
            if self._token >= 0:  # else the router starts, and nobody waits for the champion's strategies either
                for stage in own:
                    stage.warm_up()
            self._learner.take_in([*folds, *([] if compared is None else [compared[1]])])
        except FAULTS as fault:
            let_end(fault)
            why = str(fault) if isinstance(fault, RouterError) else blame(fault)
            self.behind["/".join(key)] = f"it cannot be served here: {why}"
            _log.error("%s/%s: it cannot be served here, and the champion answers in its place: %s", *key, fault)
            for stage in own:
                stage.close()
            return
        with self._learner.folding.lock:  # the agents may have changed meanwhile
            for stage in own:
                stage.prepare(self._members.roster.available)
            arm = self._arms[key] = ServingArm(record, spec, serves, chain, tuple(folds), compared)
        self._tune(arm)

    def _made(self, record: ExperimentRecord, spec: Arm, fields: Mapping[str, Any]) -> tuple[list[Stage], list[Fold]]:
        """An arm's own stages, and their folds, as they were when the experiment began."""
        mark = f"{record.name}.{spec.name}"
        if spec.version is not None:
            name, number = spec.version
            made = [twin(self._chain.stage(name).strategy)]
            versions: Mapping[str, int | None] = {name: number}
        else:
            made = self._workshop.arm(spec.strategies or (), mark)
            versions = fields["versions"]
        stages, folds = [], []
        try:
            for strategy in made:
                called = f"{strategy.name}@{mark}"
                version = self._version(strategy.name, versions.get(strategy.name))
                stage = stage_of(strategy, version, name=None if spec.version is not None else called)
                fold = self._folds.beside(stage, version, called)
                if spec.begin == "now" and fold.cursor < record.seq:
                    fold.begin_at(record.seq, fold.left_out)
                fold.frozen_at = None if spec.learning else record.seq
                strategy.prepare(self._members.roster.available)
                stages.append(stage)
                folds.append(fold)
        except BaseException:
            for strategy in made:
                strategy.close()
            raise
        return stages, folds

    def _comparison(self, record: ExperimentRecord, spec: Arm, chain: Chain) -> tuple[StrategySelection, Fold] | None:
        """Which of an arm's strategies is asked first, by what its own decisions say; a shadow decides nothing.

        It begins with what the log says of strategies of these names, as the champion's own would.
        """
        names = chain.comparable()
        called, since = (None, 0) if spec.shadow else (chain.called(), record.seq)
        selection = StrategySelection.among(names, called, since)
        if selection is None:
            return None
        fold = self._folds.report(selection)
        if spec.begin == "now":
            fold.begin_at(record.seq)
        else:
            past = self._folds.report(StrategySelection(names))
            past.state = selection
            restore(self._store, past, record.seq)
            fold.cursor = past.cursor
        fold.name = f"{SELECTION}@{record.name}.{spec.name}"
        fold.frozen_at = None if spec.learning else record.seq
        return selection, fold

    def _version(self, strategy: str, number: int | None) -> ModelVersion | None:
        try:
            return None if number is None else self._registry.version(strategy, number)
        except UnknownVersionError as error:
            raise UnknownVersionError(f"{error}; the experiment began with it") from None

    # -- what the champion's chain is told, too

    @property
    def stages(self) -> Iterable[Stage]:
        """Their own stages."""
        return [stage for arm in list(self._arms.values()) for stage in arm.own.stages]

    def strategies(self) -> dict[str, Strategy]:
        """What their own stages are made of, by the name of their snapshots."""
        return {
            fold.name: stage.strategy
            for arm in list(self._arms.values())
            for stage, fold in zip(arm.own.stages, arm.folds, strict=True)
        }

    def learnt(self) -> None:
        """Something was learnt: have them correct their confidence, and finish what they publish."""
        for arm in list(self._arms.values()):
            self._tune(arm)

    def _tune(self, arm: ServingArm) -> None:
        arm.own.calibrate(self._calibration)
        arm.chain.compare(None if arm.compared is None else arm.compared[0])
        arm.own.finish_published()

    def selection(self, experiment: str) -> dict[str, Any]:
        """Of each arm of an experiment that serves here, what each of its strategies is trusted with by task type."""
        return {
            name: None if arm.compared is None else arm.compared[0].report()
            for (of, name), arm in list(self._arms.items())
            if of == experiment
        }

    def prepare(self) -> None:
        """The agents changed."""
        for arm in list(self._arms.values()):
            for stage in arm.own.stages:
                stage.prepare(self._members.roster.available)

    def forget(self, tenant: str | None, session_id: str) -> None:
        """Drop one session of a tenant."""
        for sessions in list(self._sessions.values()):
            sessions.forget(tenant, session_id)

    def close(self) -> None:
        """End what they began."""
        for arm in self._arms.values():
            arm.close()

    def after_fork(self) -> None:
        """In a child: locks that nobody holds."""
        for sessions in self._sessions.values():
            sessions.after_fork()
        for stage in self.stages:
            stage.after_fork()


def _spec(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Of an arm's fields in the log those that ``Arm`` has."""
    return {name: value for name, value in fields.items() if name in Arm.model_fields}
