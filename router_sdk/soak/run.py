"""The soak itself: a router that goes on learning, and one that was frozen at the start, live through the same day."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.demo.support_desk import BERT, Message, World, support_desk_agents
from router_sdk.errors import FAULTS
from router_sdk.plugins import FIRST_PARTY, PluginRegistry
from router_sdk.records import ModelVersion
from router_sdk.router import Router
from router_sdk.soak.day import Moment, day, past, probes
from router_sdk.soak.report import Event, SoakReport
from router_sdk.soak.virtual_time import VirtualTime
from router_sdk.store.registry import QUARANTINED, ROLLBACK, ROLLBACK_BY_ITSELF, Champion
from router_sdk.strategy import Strategy

PAST = 300
"""Messages of the time before, with labels, that both routers begin with."""
RETRAIN_EVERY = 250
"""Fresh examples that make a fit due."""
_WORSE: Mapping[str, Mapping[str, Any]] = {"bert": {"memory_size": 4}}
"""Settings with which a strategy's fit comes out worse: it remembers next to nothing."""
IN_A_HURRY = "in a hurry"
"""Why somebody lets a version serve against the gate."""
_TOLERATED = 200
"""Messages after which a version that chose worse must be rolled back, replaced, or no worse than the frozen router."""
_LOST = 0.05
"""Share of the probes of which a version may choose fewer right than the one before."""

Progress = Callable[[str, float | None], None]


class SoakConfig(BaseModel):
    """Configuration of ``run_soak``; unknown keys are errors.

    Args:
        hours: Simulated hours.
        per_hour: Messages in one, on average.
        seed: Of the day, and of the router.
        strategies: The chain; None takes those of bert, thompson and heuristic that are installed.
        strategy: What to set of a strategy, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    hours: float = Field(default=24.0, gt=0.0, le=1_000.0)
    per_hour: int = Field(default=100, ge=10, le=100_000)
    seed: int = Field(default=0, ge=0)
    strategies: tuple[str, ...] | None = None
    strategy: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)


def run_soak(config: SoakConfig, progress: Progress = lambda words, share: None) -> SoakReport:
    """Play a day. It takes a few minutes, and the time of this process while it lasts.

    Args:
        config: What to play.
        progress: Told how far it is.

    Raises:
        RouterError: if the router cannot be opened, or its first version cannot be made.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="router-soak-") as folder, VirtualTime() as clock:
        soak = _Soak(config, Path(folder), clock, progress)
        try:
            return soak.run(started)
        finally:
            soak.close()


class _Soak:
    """One day."""

    def __init__(self, config: SoakConfig, folder: Path, clock: VirtualTime, progress: Progress) -> None:
        self._config, self._folder, self._clock, self._progress = config, folder, clock, progress
        known = PluginRegistry.load().strategies
        self._chain = config.strategies or tuple(name for name in FIRST_PARTY if name in known)
        self._fitted = next((n for n in self._chain if n in known and known[n].fit is not Strategy.fit), None)
        self._events: list[Event] = []
        self._violations: list[str] = []
        self._earned: dict[str, list[tuple[float, float]]] = {}
        self._hour = 0.0
        self._recorded = self._fits = self._restarts = self._planted = 0
        self._planted_versions: set[int] = set()
        self._skill: dict[int | None, float] = {}
        self._worse: dict[int, int] = {}  # versions that chose worse, and how many messages each has served since
        self._regressions: set[int] = set()
        progress("making the first version", 0.0)
        store = folder / "router.db"
        with self._opened(store, retrain=False) as router:
            examples = past(PAST, config.seed)
            router.fit([one.task for one in examples], [one.best for one in examples])
            if self._fitted is not None:
                fit = router.models.retrain(self._fitted, wait=True)
                self._note(f"the first version: {fit.state}, {fit.words}")
            router.backup(folder / "frozen.backup", verify=False)
        self._router = self._opened(store)
        self._frozen = self._opened(self._restored(), learning=False)
        self._recorded = self._counted()

    def _restored(self) -> Path:
        from router_sdk.store.restore import restore

        target = self._folder / "frozen.db"
        restore(self._folder / "frozen.backup", target)
        return target

    def _opened(self, store: Path, **settings: Any) -> Router:
        suits = {"bert": BERT}
        chosen = [(name, {**suits.get(name, {}), **self._config.strategy.get(name, {})}) for name in self._chain]
        options: dict[str, Any] = {
            "learn_now": True,
            "seed": self._config.seed,
            "retrain_interval": RETRAIN_EVERY,
            "retrain_cooldown_seconds": 3_600.0,
            "store_timeout_seconds": 600.0,
            **settings,
        }
        if options.get("learning") is False:
            options["learn_now"] = False
        return Router(agents=support_desk_agents(), strategies=chosen, store=store, **options)

    def close(self) -> None:
        """Close both routers."""
        self._router.close()
        self._frozen.close()

    # -- the day

    def run(self, started: float) -> SoakReport:
        """Play it, and sum up."""
        config = self._config
        world: World | None = None
        for moment in day(config.hours, config.per_hour, config.seed):
            self._hour = moment.hour
            self._clock.skip(moment.after_s)
            if moment.world is not world:
                world = moment.world
                self._note(f"the world changes: {world.name}")
                self._skill = {self._serving: self._skill_in(world)}
            for mishap in moment.mishaps:
                {"restart": self._restart, "bad candidate": self._plant, "forced candidate": self._force}[mishap]()
            self._live(moment)
            self._settle(moment.world)
            self._tolerate(moment.world)
            self._progress(f"hour {moment.hour:.1f}: {moment.world.name}", moment.hour / config.hours)
        self._check()
        return self._report(time.perf_counter() - started)

    def _live(self, moment: Moment) -> None:
        """One message, of both routers; what comes back teaches one of them."""
        message = moment.message
        try:
            decision = self._router.route(message.task)
            other = self._frozen.route(message.task)
        except FAULTS as error:
            self._violations.append(f"hour {self._hour:.1f}: a request failed: {type(error).__name__}: {error}")
            return
        own, frozen = (_reward(message, chosen.agent) for chosen in (decision, other))
        self._earned.setdefault(moment.world.name, []).append((own, frozen))
        if decision.agent is not None:
            self._router.record(decision, message.outcomes[decision.agent])
            self._recorded += 1

    def _settle(self, world: World) -> None:
        """Wait for a fit that was begun; time stands still meanwhile. Then see what serves."""
        before = self._serving
        fit = self._router.models.newest_fit
        if fit is not None and fit.running:
            fit.wait()
            self._fits += 1
            self._note(f"a fit ({fit.reason}): {fit.state}, {fit.words}")
        self._look(before, world)

    def _look(self, before: int | None, world: World) -> None:
        """Compare what serves with what served, on messages that nobody learns from."""
        now = self._serving
        if now in self._skill:
            return
        known = self._skill.get(before)
        skill = self._skill[now] = self._skill_in(world)
        if known is not None and now is not None and skill < known - _LOST:
            self._worse[now] = 0
        self._note(f"version {now} serves: {skill:.0%} of the probes right")

    def _tolerate(self, world: World) -> None:
        """A version that chose worse has so many messages to be rolled back, replaced, or the better for learning."""
        now = self._serving
        if now is None or now not in self._worse:
            return
        self._worse[now] += 1
        if self._worse[now] == _TOLERATED:
            skill, frozen = self._skill_in(world), self._skill_in(world, self._frozen)
            if skill < frozen - _LOST:
                self._regressions.add(now)
            self._note(f"version {now} still serves: {skill:.0%} of the probes right, the frozen router {frozen:.0%}")

    def _skill_in(self, world: World, router: Router | None = None) -> float:
        asked = probes(world, self._config.seed)
        chosen = [(router or self._router).rank(one.task, top_k=1) for one in asked]
        right = sum(
            (ranked[0].agent if ranked else None) == one.best for ranked, one in zip(chosen, asked, strict=True)
        )
        return right / len(asked)

    @property
    def _serving(self) -> int | None:
        """What serves, by the log."""
        history = [] if self._fitted is None else self._router.models.history(self._fitted)
        return history[0].version if history else None

    @property
    def _loaded(self) -> int | None:
        """What serves here."""
        told = self._router.status(last=0)["strategies"]
        return next((one["model_version"] for one in told if one["name"] == self._fitted), None)

    def _versions(self) -> list[ModelVersion]:
        return [] if self._fitted is None else self._router.models.versions(self._fitted)

    # -- what goes wrong on purpose

    def _restart(self) -> None:
        serving = self._loaded
        self._router.close()
        self._router = self._opened(self._folder / "router.db")
        self._restarts += 1
        self._note("planted: the router was closed and opened again")
        if self._loaded != serving:
            self._violations.append(f"hour {self._hour:.1f}: version {serving} served, and {self._loaded} after it")

    def _plant(self) -> ModelVersion | None:
        """Fit a candidate that is worse, as somebody does who mistypes a setting."""
        if self._fitted is None or self._fitted not in _WORSE:
            return None
        before = {version.version for version in self._versions()}
        fit = self._router.models.retrain(self._fitted, wait=True, **_WORSE[self._fitted])
        self._fits += 1
        self._planted += 1
        self._note(f"planted: a bad candidate: {fit.state}, {fit.words}")
        made = [version for version in self._versions() if version.version not in before]
        self._planted_versions |= {version.version for version in made}
        return made[0] if made else None

    def _force(self) -> None:
        """Let one serve that the gate refused, and leave it to the router from there on."""
        made = self._plant()
        if made is not None and self._fitted is not None and self._serving != made.version:
            self._note(f"planted: somebody lets version {made.version} serve against the gate")
            self._router.models.promote(self._fitted, made.version, force=True, pin=False, reason=IN_A_HURRY)

    # -- the end

    def _counted(self) -> int:
        self._router.flush()
        total: int = self._router.statistics()["total_examples"]
        return total

    def _check(self) -> None:
        """What was promised."""
        if (known := self._counted()) != self._recorded:
            self._violations.append(f"{self._recorded} outcomes were acknowledged, and {known} are known")
        status = self._router.status()
        if status["queue"]["unlogged"]:
            self._violations.append(f"{status['queue']['unlogged']} decisions are in no log")
        if status["learner"]["broken"]:
            self._violations.append(f"learns no more: {', '.join(status['learner']['broken'])}")
        serving = self._serving
        if self._loaded != serving:
            self._violations.append(f"version {serving} serves by the log, and {self._loaded} in fact")
        for version in self._versions():
            if version.version == serving and QUARANTINED in version.aliases:
                self._violations.append(f"version {serving} serves although it is in quarantine")

    def _report(self, seconds: float) -> SoakReport:
        versions = self._versions()
        history = self._router.models.history(self._fitted) if self._fitted is not None else []
        back = {version.version for version in versions if QUARANTINED in version.aliases}
        stopped = sum(
            one.version in back or not one.passed for one in versions if one.version in self._planted_versions
        )
        whole = [pair for pairs in self._earned.values() for pair in pairs]
        return SoakReport(
            hours=self._config.hours,
            seed=self._config.seed,
            strategies=self._chain,
            messages=len(whole),
            reward=_mean(whole)[0],
            frozen=_mean(whole)[1],
            by_phase={name: _mean(pairs) for name, pairs in self._earned.items()},
            fits=self._fits,
            promoted=sum(by_itself(one) for one in history),
            refused=sum(not version.passed for version in versions),
            planted=self._planted,
            stopped=stopped,
            regressions=len(self._regressions),
            rollbacks=sum(one.reason.startswith(ROLLBACK_BY_ITSELF) for one in history),
            restarts=self._restarts,
            violations=tuple(self._violations),
            duration_s=seconds,
            events=tuple(self._events),
        )

    def _note(self, words: str) -> None:
        self._events.append(Event(round(self._hour, 2), words))


def by_itself(entry: Champion) -> bool:
    """Whether a fit brought a version to serve, and nobody asked for it."""
    by_somebody = entry.pinned or entry.reason.startswith((ROLLBACK, IN_A_HURRY))
    return entry.version is not None and not by_somebody


def _reward(message: Message, agent: str | None) -> float:
    """What a choice earns; saying that nobody can is right where nobody can."""
    if agent is None:
        return float(message.best is None)
    return float(bool(message.outcomes[agent].success))


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    count = max(len(pairs), 1)
    return sum(own for own, _ in pairs) / count, sum(other for _, other in pairs) / count
