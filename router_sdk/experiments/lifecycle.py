"""From an experiment's beginning to its end: begun, looked at as outcomes come, moved on, concluded.

Whoever has the store open and learns looks. What is concluded is one transaction: the verdict, which version serves
from there on, and which are in quarantine. It is fenced by the experiment's newest event, so that one process
concludes, and whoever is killed has concluded or has not.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, get_args

from router_sdk.errors import FAULTS, ExperimentError, InvalidConfigError, let_end
from router_sdk.experiments.allocation import next_shares, next_step
from router_sdk.experiments.analysis import analyse
from router_sdk.experiments.arms import Arm, shares_for
from router_sdk.experiments.units import HOUR_S, read_units
from router_sdk.experiments.verdict import Decided, Verdict
from router_sdk.learning.fold import EVERYTHING
from router_sdk.loop_settings import ExperimentConfig
from router_sdk.store.experiments import CHAMPION_ARM, ExperimentRecord, alone, experiments, start_experiment, tell
from router_sdk.store.registry import WON, challenge_over, move_champion, set_aside

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.experiments.analysis import Analysis
    from router_sdk.experiments.serving import ServingArms
    from router_sdk.routing.chain import Chain
    from router_sdk.routing.strategies import Workshop
    from router_sdk.training.fit import FitServices
    from router_sdk.training.promoting import Promoter
    from router_sdk.training.registry import Registry

_LOOK_S = 10.0
"""Shortest time between two looks."""
_PATIENCE = 20.0
"""And in multiples of how long the last one took."""
_LEAST_MOVE = 0.02
"""By how much the share of an arm must change before the shares are told anew, where they follow what arms earn."""

_log = logging.getLogger(__name__)


class Lifecycle:
    """Begins experiments, looks at them, and ends them.

    Args:
        services: The log, its settings, and the plugins who are told.
        workshop: Makes strategies.
        registry: Fitted versions.
        chain: The configured chain.
        promoter: Who puts a version that won into the chain here.
        serving: The arms of this process.
        wall: Seconds since the epoch.
    """

    def __init__(
        self,
        services: FitServices,
        workshop: Workshop,
        registry: Registry,
        chain: Chain,
        promoter: Promoter,
        serving: ServingArms,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._config, self._plugins = services.store, services.config, services.plugins
        self._workshop, self._registry, self._chain = workshop, registry, chain
        self._promoter, self._serving, self._wall = promoter, serving, wall
        self._looks = services.config.learns
        self._not_before = 0.0
        self._newest: dict[str, tuple[float, int, Analysis | None]] = {}

    # -- the beginning

    def begin(
        self,
        name: str,
        arms: Sequence[Arm],
        settings: ExperimentConfig,
        shares: Mapping[str, float] | None,
        actor: str | None,
    ) -> None:
        """Log that an experiment begins, see ``Experiments.start``; who follows the log serves it."""
        each = settings.rollout[0] if settings.rollout else settings.challenger_share
        divided = shares_for(arms, shares, each)
        if settings.rollout:
            shares_for(arms, None, settings.rollout[-1])  # which leaves the champion something, too
        told = [self._resolved(arm) for arm in arms]
        latched = next((one for one in reversed(self.records()) if one.keeps_serving), None)
        if latched is not None and len(divided) > 1 and not self._serving.configured(latched):
            raise ExperimentError(
                f"the chain that won experiment {latched.name!r} serves all, and is not what is configured: change the "
                f"configuration to it, or stop {latched.name!r}, before another one begins"
            )
        start_experiment(
            self._store.writer,
            name,
            settings=settings.model_dump(mode="json"),
            arms=told,
            shares=divided,
            actor=actor,
            at=self._wall(),
            retires=None if latched is None or len(divided) == 1 else latched.name,
        )

    def _resolved(self, arm: Arm) -> dict[str, Any]:
        """An arm with all that it depends on, so that it is the same after a restart."""
        told = arm.model_dump(mode="json")
        if arm.version is not None:
            name, number = arm.version
            self._chain.stage(name)
            self._registry.version(name, number)
            serving = self._registry.champion(name).version
            if serving == number:
                raise InvalidConfigError(f"challenger {arm.name!r}: version {number} of {name!r} serves already")
            return {**told, "versions": {name: number}, "against": {name: serving}}
        specs = arm.strategies or [
            (stage.name, stage.strategy.config.model_dump(mode="json", exclude_unset=True))
            for stage in self._chain.stages
        ]
        for strategy in self._workshop.arm(specs, "asked"):
            strategy.close()
        versions = {name: self._registry.champion(name).version for name, _ in specs}
        return {**told, "strategies": [list(spec) for spec in specs], "versions": versions, "against": {}}

    def _begin_by_itself(self) -> None:
        """Where a version challenges what serves, and nothing is in the way, let an experiment decide."""
        records = self.records()
        if any((one.open and one.serves) or one.keeps_serving for one in records):
            return
        for stage in self._chain.stages:
            number = self._registry.challenger(stage.name)
            if number is None or number == stage.model_version:
                continue
            called = f"{re.sub(r'[^A-Za-z0-9_-]', '-', stage.name)[:24]}-{number}"
            used = {one.name for one in records}
            tries = (called if place == 1 else f"{called}-{place}" for place in count(1))
            name = next(name for name in tries if name not in used)
            arm = Arm(name=f"version-{number}", version=(stage.name, number))
            try:
                self.begin(name, [arm], self._config.experiment, None, None)
            except ExperimentError as error:  # another process was faster
                _log.info("%s", error)
            except FAULTS as fault:  # experiments that run go on
                let_end(fault)
                _log.exception("no experiment can begin with version %d of %s", number, stage.name)
            return

    # -- looks

    def look(self) -> None:
        """Go on with what came since. Called on the learner's thread, about once a second."""
        if not self._looks or time.monotonic() < self._not_before:
            return
        started = time.monotonic()
        try:
            if self._config.promotion == "experiment" and self._config.fits and self._config.tenancy == "shared":
                self._begin_by_itself()
            for record in self.records():
                if record.open:
                    self._go_on(record)
            self._serving.follow()
            self._tidy()
        finally:
            ended = time.monotonic()
            self._not_before = ended + max(_LOOK_S, _PATIENCE * (ended - started))

    def _tidy(self) -> None:
        """Delete the states of arms that are no more."""
        gone = tuple(f"@{one.name}." for one in self.records() if not (one.open or one.keeps_serving))
        if gone:
            old = [
                one for one in self._store.snapshots.before(EVERYTHING) if any(name in one.strategy for name in gone)
            ]
            if old:
                self._store.snapshots.discard(old)

    def look_now(self) -> None:
        """The same at once, for who waits for it."""
        self._not_before = 0.0
        self.look()

    def _go_on(self, record: ExperimentRecord) -> None:
        try:
            moved = self._moved(record)
            if moved is not None:
                self.end(record, Verdict("stopped", None, moved, None, record.lost))
                return
            analysis = self.analysis(record)
            if analysis is None:
                return
            if analysis.verdict.final:
                self.end(record, analysis.verdict)
            else:
                self._share(record, analysis)
        except FAULTS as fault:  # the others go on
            let_end(fault)
            _log.exception("experiment %s could not be looked at", record.name)

    def _moved(self, record: ExperimentRecord) -> str | None:
        """Why nothing is left to compare: what serves is not what a version was to be compared with any more."""
        for arm in record.arms:
            for name, against in arm["against"].items():
                serving = self._registry.champion(name).version
                if serving != against:
                    return f"what serves of {name} was changed: version {serving} in the place of {against}"
        hours = record.settings["max_duration_hours"]
        if not record.serves and hours is not None and self._wall() - record.at >= hours * HOUR_S:
            return f"its shadows were asked for {hours:g} hours"
        return None

    def analysis(self, record: ExperimentRecord) -> Analysis | None:
        """An experiment as it stands; None where nothing but shadows takes part in it."""
        if not record.serves:
            return None
        settings = ExperimentConfig(**record.settings)
        now = self._wall() if record.ended_at is None else record.ended_at
        units = self._store.ask(
            lambda connection: read_units(
                connection, record.name, list(record.steps[0][1]), settings, now=now, after=record.seq
            )
        )
        found = analyse(units, settings, record.at, verdict_of(record))
        self._newest[record.name] = time.monotonic(), record.token, found
        return found

    def _lately(self, record: ExperimentRecord) -> Analysis | None:
        """The same as of some seconds ago, so that who asks for the status often costs little."""
        at, token, found = self._newest.get(record.name, (0.0, -1, None))
        if token == record.token and time.monotonic() - at < _LOOK_S:
            return found
        return self.analysis(record)

    def _share(self, record: ExperimentRecord, analysis: Analysis) -> None:
        """Move on to the next step of a rollout, or to the shares that follow what arms earned."""
        settings, lost = ExperimentConfig(**record.settings), dict(analysis.verdict.lost)
        shares = dict(record.shares)
        challengers = [arm.name for arm in analysis.arms[1:]]
        if settings.allocation == "bandit":
            following = dict(zip([arm.name for arm in analysis.arms], next_shares(analysis, settings), strict=True))
            if max(abs(following[name] - shares[name]) for name in shares) >= _LEAST_MOVE:
                shares = following
        elif settings.rollout:
            now = max(shares[name] for name in challengers)
            share = next_step(analysis, settings, now)
            shares |= {name: share for name in challengers if shares[name] > 0 and share != now}
        shares |= dict.fromkeys(lost, 0.0)
        shares[CHAMPION_ARM] = 1.0 - sum(shares[name] for name in challengers)
        if shares != record.shares and shares[CHAMPION_ARM] > 0:
            words = "; ".join(f"{name} {why}" for name, why in lost.items())
            tell(self._store.writer, record, "shares", {"shares": shares, "lost": lost, "reason": words}, self._wall())

    # -- the end

    def check_loads(self, arm: Mapping[str, Any]) -> None:
        """Whether an arm that is a version could serve here.

        Raises:
            UnknownVersionError: if its files were given up.
            CorruptArtifactError: if they are damaged.
        """
        if arm["version"] is not None:
            strategy, number = arm["version"]
            with self._promoter.lock:
                found, _ = self._promoter.aside(self._chain.stage(strategy), self._registry.version(strategy, number))
            found.strategy.close()

    def end(
        self,
        record: ExperimentRecord,
        verdict: Verdict,
        *,
        serving: bool | None = None,
        actor: str | None = None,
    ) -> bool:
        """Conclude an experiment, unless somebody was faster; whether it was concluded. On the learner's thread.

        Args:
            record: As it was when that was decided.
            verdict: Who won, who lost, and why.
            serving: Whether the winner serves from now on; None is as ``auto_promotion`` says.
            actor: Who says so, or None.

        Raises:
            ExperimentError: if a chain is to serve all where another experiment has something to say of who serves.
        """
        if serving is None:
            serving = bool(record.settings["auto_promotion"])
        winner, lost = verdict.arm, dict(verdict.lost)
        body = {
            "verdict": verdict.decided,
            "winner": winner,
            "reason": verdict.reason,
            "serving": serving and winner is not None,
            "lost": lost,
        }
        promoted: list[tuple[str, int]] = []
        mover = actor or f"experiment {record.name}"

        def move(connection: Connection, seq: int) -> None:
            if body["serving"] and record.arm(str(winner))["version"] is None:
                alone(connection, record.name)
            for arm in record.arms:
                if arm["version"] is None:
                    continue
                strategy, number = arm["version"]
                if body["serving"] and arm["name"] == winner:
                    why = f"{WON} {record.name}: {verdict.reason}"
                    move_champion(connection, seq, strategy, number, why, mover, pinned=False)
                    promoted.append((strategy, number))
                elif arm["name"] in lost:
                    why = f"lost experiment {record.name}: {lost[arm['name']]}"
                    set_aside(connection, seq, strategy, number, why, mover)
                if arm["name"] != winner or body["serving"]:
                    challenge_over(connection, seq, strategy, number, f"experiment {record.name} has ended", mover)

        if not tell(self._store.writer, record, "ended", body, self._wall(), actor=actor, beside=move):
            return False
        level = logging.WARNING if body["verdict"] == "invalid" else logging.INFO
        _log.log(level, "experiment %s: %s: %s", record.name, body["verdict"], verdict.reason)
        self._promoter.follow()
        self._serving.follow()
        for strategy, number in promoted:
            self._plugins.notify("on_promotion", strategy=strategy, version=number)
        return True

    def retire(self, record: ExperimentRecord, reason: str, actor: str | None) -> bool:
        """Let the configured chain serve again in the place of one that won; whether nobody was faster."""
        done = tell(self._store.writer, record, "retired", {"reason": reason}, self._wall(), actor=actor)
        self._serving.follow()
        return done

    # -- what is known

    def records(self) -> list[ExperimentRecord]:
        """All experiments, oldest first."""
        return self._store.reader.query(experiments)

    def status(self) -> list[dict[str, Any]]:
        """The experiments that run, or whose chain serves, and what they wait for, as JSON values."""
        told = []
        for record in self.records():
            if not (record.open or record.keeps_serving):
                continue
            analysis = self._lately(record) if record.open else None
            waits = [one.remaining for one in analysis.comparisons if one.remaining] if analysis else []
            told.append(
                {
                    **record.to_dict(),
                    "configured": record.keeps_serving and self._serving.configured(record),
                    "closed": None if analysis is None else {arm.name: arm.closed for arm in analysis.arms},
                    "waits": None if analysis is None else analysis.verdict.reason,
                    "units_needed": max((one.units for one in waits), default=None),
                    "selection": self._serving.selection(record.name),
                    "hours_needed": _finite(max((one.hours for one in waits), default=None)),
                    "behind": {
                        name: why for name, why in self._serving.behind.items() if name.startswith(f"{record.name}/")
                    },
                }
            )
        return told

    def challengers(self) -> dict[str, int]:
        """The versions that passed the gate and wait for a person, or for an experiment, by strategy."""
        compared = {
            tuple(arm["version"])
            for one in self.records()
            if one.open
            for arm in one.arms
            if arm["version"] is not None
        }
        found = {stage.name: self._registry.challenger(stage.name) for stage in self._chain.stages}
        return {name: number for name, number in found.items() if number is not None and (name, number) not in compared}


def verdict_of(record: ExperimentRecord) -> Verdict:
    """What was concluded of it so far."""
    decided: Decided = "running"
    for known in get_args(Decided):
        decided = known if record.verdict == known else decided
    at = None if decided == "running" else record.ended_at
    return Verdict(decided, record.winner, record.reason or "", at, record.lost)


def _finite(hours: float | None) -> float | None:
    return None if hours is None or hours == float("inf") else round(hours, 2)
