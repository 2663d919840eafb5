"""When a fit starts by itself: triggers are asked, and what stands in their way is told.

Nothing starts where a person pinned what serves, during the cooldown, or where the gate could not judge the result.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import FAULTS, InvalidConfigError, let_end
from router_sdk.store.registry import challenger, champions, rollbacks_in_a_row
from router_sdk.strategy import Strategy
from router_sdk.training.cooldown import Cooldown, Tried, steady_clock, wall_clock
from router_sdk.training.lately import Lately
from router_sdk.training.window_triggers import Drift, ErrorRate, LowConfidence, NegativeFeedback, QualityDrop, Windowed
from router_sdk.triggers import Activity, ExampleCount, Manual, Reading, Schedule, Trigger, patience_after

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.learning.performance import Performance
    from router_sdk.routing.chain import Chain, Stage
    from router_sdk.store.registry import Champion
    from router_sdk.training.fit import FitServices

_HISTORY = 64
"""Newest entries of the alias's history that are looked through for rollbacks."""
_REPORTS_S = 10.0
"""How old may be what strategies and agents are known to do, in seconds."""

_log = logging.getLogger(__name__)


class Due(NamedTuple):
    """A fit that shall start: of which strategy, why, and the newest attempt before it (0 if there was none)."""

    stage: Stage
    reason: str
    after: int


@dataclass(frozen=True, slots=True)
class TriggerCheck:
    """What all triggers say of one strategy.

    Attributes:
        strategy: Its name.
        due: Why a fit is due, or None.
        waits: Why none starts all the same, or could not: a pin, the cooldown, too few examples; None where nothing is
            in the way.
        automatic: Whether this process starts fits by itself.
        cooldown: How long ago the last attempt was, and how long it has to be.
        readings: What each trigger measured.
        off: Triggers that nobody asks, and what to set so that they are.
    """

    strategy: str
    due: str | None
    waits: str | None
    automatic: bool
    cooldown: Reading
    readings: tuple[Reading, ...]
    off: Mapping[str, str] = field(default_factory=dict)

    @property
    def next(self) -> Reading | None:
        """The trigger that is nearest; None where none measures anything."""
        nearest = max(self.readings, key=lambda reading: reading.share, default=None)
        return nearest if nearest is not None and (nearest.share or nearest.threshold) else None

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        return {
            **asdict(self),
            "readings": [one.to_dict() for one in self.readings],
            "next": self.next and self.next.trigger,
        }


class Triggering:
    """The triggers of one router, and what they are told.

    Args:
        services: The log, the reward, the settings and the plugins.
        chain: Who proposes.
        performance: What is known of the outcomes.
        needs: Examples that the gate needs to judge a candidate.
        changed: Tells what is not as it was, and how often that was so; see ``learning.drift``.
        wall: Seconds since the epoch, by a clock that may jump.
        monotonic: Seconds of one that never does.

    Raises:
        InvalidConfigError: if a trigger is switched off that there is none of.
    """

    def __init__(
        self,
        services: FitServices,
        chain: Chain,
        performance: Performance,
        needs: int,
        changed: Callable[[], Mapping[str, int]] = dict,
        wall: Callable[[], float] = wall_clock,
        monotonic: Callable[[], float] = steady_clock,
    ) -> None:
        self._chain, self._performance, self._needs, self._changed = chain, performance, needs, changed
        self._config, self._reader = services.config, services.store.reader
        self._wall, self._monotonic = wall, monotonic
        self._cooldown = Cooldown(self._reader, wall, monotonic)
        self._lately = Lately(self._reader, services.reward, monotonic)
        self._triggers = chosen(self._config, services.plugins.triggers)
        self._off = switched_off(self._config, services.plugins.triggers)
        self._failed: set[str] = set()
        self._read: dict[tuple[str, str], tuple[tuple[Any, ...], Reading]] = {}
        self._reports: tuple[float, dict[str, float], Counter[str]] | None = None
        self._changed_before: dict[str, tuple[tuple[int | None, ...], Counter[str]]] = {}
        config = self._config
        self.automatic = config.retrain and config.learns and config.fits and any(self._fitted)

    @property
    def _fitted(self) -> Iterator[Stage]:
        """The stages whose strategy has a fit."""
        return (stage for stage in self._chain.stages if trainable(stage.strategy))

    def last(self, strategy: str) -> Tried:
        """The newest attempt to fit a strategy, by whichever process."""
        return self._cooldown.last(strategy)

    # -- asked about once a second

    def due(self, but: Collection[str] = ()) -> Due | None:
        """The first strategy in the chain for which it is time, where nothing is in the way; but not one of these."""
        if not self.automatic:
            return None
        for stage in self._fitted:
            tried = self.last(stage.name)
            if stage.name not in but and self._waits(stage.name, tried) is None:
                activity = self._activity(stage, tried)
                reason = next((said.reason for said in map(self._ask(activity), self._triggers) if said.due), None)
                if reason is not None:
                    return Due(stage, reason, tried.number)
        return None

    def _waits(self, strategy: str, tried: Tried) -> str | None:
        """What stands in the way of any trigger."""
        if not self._config.fits:
            return 'nothing is fitted with tenancy = "separate"'
        history = self._history(strategy)
        if history and history[0].pinned:
            return f"a person pinned what serves: router unpin {strategy}"
        waiting = self._reader.query(lambda connection: challenger(connection, strategy))
        if self._config.promotion == "experiment" and waiting is not None:
            return f"an experiment decides about version {waiting} first"
        cooldown = self._cooling(tried, rollbacks_in_a_row(history))
        if not cooldown.due:
            return cooldown.reason
        if self._performance.usable < self._needs:
            return f"{self._performance.usable} examples say how they went, the gate needs {self._needs} to judge by"
        return None

    def _cooling(self, tried: Tried, rollbacks: int) -> Reading:
        since, patience = tried.seconds, patience_after(rollbacks)
        needed = self._config.retrain_cooldown_seconds * patience
        if since is None or since >= needed:
            return Reading("cooldown", True, "over", since, needed, "s")
        rolled = "" if patience == 1 else f" ({patience} times as long, after {rollbacks} versions were rolled back)"
        return Reading("cooldown", False, f"cooldown: {needed - since:,.0f} s to go{rolled}", since, needed, "s")

    def _ask(self, activity: Activity) -> Callable[[Trigger], Reading]:
        """Asks a trigger; one that goes through a window only where it was looked for something new."""

        def ask(trigger: Trigger) -> Reading:
            seen = (activity.outcomes, activity.upto, activity.patience, activity.changes)
            key = (activity.strategy, trigger.name)
            try:
                if not isinstance(trigger, Windowed):
                    return trigger.reading(activity)
                before, reading = self._read.get(key, (None, None))
                if reading is None or before is None or before[0] is not seen[0] or before[1:] != seen[1:]:
                    reading = trigger.reading(activity)
                    self._read[key] = seen, reading
                return reading
            except FAULTS as error:
                let_end(error)
                if trigger.name not in self._failed:  # about once a second
                    _log.exception("trigger %s failed", trigger.name)
                self._failed.add(trigger.name)
                return Reading(trigger.name, False, f"it failed: {type(error).__name__}: {error}")

        return ask

    # -- asked by people

    def check(self, stage: Stage) -> TriggerCheck:
        """What every trigger says now."""
        tried = self.last(stage.name)
        activity = self._activity(stage, tried, now=True)
        readings = tuple(map(self._ask(activity), self._triggers))
        return TriggerCheck(
            stage.name,
            next((said.reason for said in readings if said.due), None),
            self._waits(stage.name, tried),
            self.automatic,
            self._cooling(tried, activity.rollbacks),
            readings,
            self._off,
        )

    @property
    def next_in(self) -> int | None:
        """Fresh examples until the next fit; None where nothing is fitted by count."""
        stage = next(self._fitted, None)
        count = next((one for one in self._triggers if isinstance(one, ExampleCount)), None)
        if stage is None or count is None or not self.automatic:
            return None
        fresh = self._lately.fresh(stage.name, self.last(stage.name).cursor, self._config.triggers.min_quality_score)
        needed = count.interval * patience_after(rollbacks_in_a_row(self._history(stage.name)))
        examples: int = self._performance.statistics()["total_examples"]
        return max(self._config.min_examples - examples, needed - fresh.good, 0)

    # -- what triggers are told

    def _activity(self, stage: Stage, tried: Tried, *, now: bool = False) -> Activity:
        fresh = self._lately.fresh(stage.name, tried.cursor, self._config.triggers.min_quality_score)
        statistics = self._performance.statistics()
        score, rate = statistics["current_model_score"], statistics["improvement_rate"]
        since = (tried.number, *(one.model_version for one in self._chain.stages))
        told = self._changed_before.get(stage.name)
        if told is None or told[0] != since:  # what serves now has counted otherwise
            self._reports = None
            told = self._changed_before[stage.name] = since, self._known()[1]
        lifetime, changes = self._known()
        return Activity(
            strategy=stage.name,
            examples=statistics["total_examples"],
            fresh=fresh.heard,
            model_version=stage.model_version,
            recent_reward=score,
            earlier_reward=None if rate is None else score / (1.0 + rate),
            seconds_since_fit=tried.seconds,
            counted=fresh.good,
            rollbacks=rollbacks_in_a_row(self._history(stage.name)),
            upto=tried.cursor,
            now=self._wall(),
            outcomes=self._lately.outcomes(now=now),
            answers=self._lately.answers(now=now),
            lifetime=lifetime,
            changes=changes - told[1],
        )

    def _history(self, strategy: str) -> list[Champion]:
        return self._reader.query(lambda connection: champions(connection, strategy, _HISTORY))

    def _known(self) -> tuple[dict[str, float], Counter[str]]:
        """Each agent's mean reward, and the changes that strategies report, as of some seconds ago at most."""
        now = self._monotonic()
        if self._reports is None or now - self._reports[0] >= _REPORTS_S:
            changes: Counter[str] = Counter()
            for stage in self._chain.stages:
                told = stage.report().get("changes")
                if isinstance(told, dict):
                    changes.update({f"{agent} ({stage.name})": int(count) for agent, count in told.items()})
            changes.update({f"{what} (drift)": count for what, count in self._changed().items()})
            self._reports = now, self._performance.earned(), changes
        return self._reports[1], self._reports[2]


def chosen(config: RouterConfig, brought: list[Trigger]) -> list[Trigger]:
    """The triggers that are asked: those that the settings name, then those that plugins brought.

    Raises:
        InvalidConfigError: if one is switched off that there is none of.
    """
    told, minimum = config.triggers, config.min_examples
    least = told.least_outcomes
    found: list[Trigger] = [ExampleCount(config.retrain_interval, minimum, told.min_quality_score)]
    if told.schedule_hours is not None:
        found.append(Schedule(told.schedule_hours, minimum))
    if told.quality_drop_threshold is not None:
        found.append(QualityDrop(told.quality_drop_threshold, told.quality_window_hours, least, minimum))
    if told.error_rate_threshold is not None:
        found.append(ErrorRate(told.error_rate_threshold, told.error_window_hours, least, minimum))
    if told.negative_feedback_threshold is not None:
        found.append(NegativeFeedback(told.negative_feedback_threshold, told.error_window_hours, least, minimum))
    if told.low_confidence_share is not None:
        share, below = told.low_confidence_share, told.low_confidence_below
        found.append(LowConfidence(share, below, told.quality_window_hours, least, minimum))
    if told.drift_threshold is not None:
        found.append(Drift(told.drift_threshold, told.quality_window_hours, least, minimum))
    found += [*brought, Manual()]
    known = [*BUILT_IN, *(one.name for one in brought)]
    if unknown := sorted(set(told.off) - set(known)):
        raise InvalidConfigError(
            f"triggers.off: there is no trigger {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return [one for one in found if one.name not in told.off]


_THRESHOLDS: Mapping[type[Trigger], str] = {
    Schedule: "schedule_hours",
    QualityDrop: "quality_drop_threshold",
    ErrorRate: "error_rate_threshold",
    NegativeFeedback: "negative_feedback_threshold",
    LowConfidence: "low_confidence_share",
    Drift: "drift_threshold",
}
"""Where the threshold stands without which a trigger is not asked."""

BUILT_IN = (ExampleCount.name, *(one.name for one in _THRESHOLDS))


def switched_off(config: RouterConfig, brought: list[Trigger]) -> dict[str, str]:
    """The triggers that are not asked, and what to set so that they are."""
    told = config.triggers
    unset = {one.name: where for one, where in _THRESHOLDS.items() if getattr(told, where) is None}
    found = {name: f"set triggers.{where}" for name, where in unset.items()}
    named = [name for name in (*BUILT_IN, *(one.name for one in brought)) if name in told.off]
    return found | dict.fromkeys(named, "triggers.off names it")


def trainable(strategy: Strategy) -> bool:
    """Whether a strategy has a fit."""
    return type(strategy).fit is not Strategy.fit
