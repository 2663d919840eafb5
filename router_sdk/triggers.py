"""When to fit: triggers look at what happened since the last fit and say why it is time, or why not yet.

What a trigger measures is what came since the last attempt to fit, within its window: outcomes that made one fit due do
not make the next one due as well. Each needs so many of them before it says anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from router_sdk.spelling import counted

WINDOW = 1_000
"""Most outcomes that count as of late, and as many before them are what they are compared with."""
_MOST_DOUBLINGS = 5
HOUR_S = 3_600.0
"""Seconds of an hour."""


def patience_after(rollbacks: int) -> int:
    """How many times as much is needed: twice for each version that was rolled back by itself, at most 32 times."""
    return int(2 ** min(rollbacks, _MOST_DOUBLINGS))


class Heard(NamedTuple):
    """What came of one decision, as far as the log knows by now.

    Attributes:
        seq: Position of its newest outcome.
        at: The log's time of that, in seconds since the epoch.
        agent: Who acted; None where it was "no agent fits".
        reward: In [0, 1], or None.
        failed: Whether it failed, or None where nobody said.
        disliked: Whether feedback was negative, or None where there was none.
    """

    seq: int
    at: float
    agent: str | None
    reward: float | None
    failed: bool | None = None
    disliked: bool | None = None


class Answered(NamedTuple):
    """One routed decision: its position, its time in seconds since the epoch, and its confidence in [0, 1]."""

    seq: int
    at: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Activity:
    """What a trigger may know of one strategy.

    Attributes:
        strategy: Its name.
        examples: Decisions with an outcome in the whole log.
        fresh: Those whose outcome came after the last attempt to fit.
        model_version: What serves, or None while nothing was fitted.
        recent_reward: Mean reward of the last 100 outcomes, or None.
        earlier_reward: That of the 100 before, or None.
        seconds_since_fit: Since the last attempt, in seconds; None if there was none.
        counted: Those of the fresh ones that count towards the next fit, see ``triggers.min_quality_score``.
        rollbacks: Versions that were rolled back by themselves, one after the other, with none that held in between.
        upto: Position in the log that the last attempt reached.
        now: The time, in seconds since the epoch.
        outcomes: What came of the newest decisions, oldest first.
        answers: The newest routed decisions, oldest first.
        lifetime: Mean reward of each agent over all that is known of it.
        changes: Agents of which strategies in the chain reported a change since the last attempt, with how many.
    """

    strategy: str
    examples: int
    fresh: int
    model_version: int | None
    recent_reward: float | None
    earlier_reward: float | None
    seconds_since_fit: float | None
    counted: int = 0
    rollbacks: int = 0
    upto: int = 0
    now: float = 0.0
    outcomes: Sequence[Heard] = ()
    answers: Sequence[Answered] = ()
    lifetime: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    changes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def patience(self) -> int:
        """How many times as much is needed, see ``patience_after``."""
        return patience_after(self.rollbacks)

    def lately(self, hours: float) -> tuple[list[Heard], list[Heard]]:
        """Outcomes since the last attempt within so many hours, at most ``WINDOW``, and as many before them."""
        first = self.now - HOUR_S * hours
        start = next(
            (place for place, one in enumerate(self.outcomes) if one.seq > self.upto and one.at >= first),
            len(self.outcomes),
        )
        start = max(start, len(self.outcomes) - WINDOW)
        return list(self.outcomes[start:]), list(self.outcomes[max(start - WINDOW, 0) : start])


@dataclass(frozen=True, slots=True)
class Reading:
    """What a trigger says.

    Attributes:
        trigger: Its name.
        due: Whether it is time.
        reason: Why, or why not yet, in a few words.
        value: What it measured, or None where there is nothing to measure.
        threshold: From which value it is time, or None.
        unit: Of both; empty for shares and rewards.
    """

    trigger: str
    due: bool
    reason: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""

    @property
    def share(self) -> float:
        """How near it is, in [0, 1]; 0 where nobody knows."""
        if self.due:
            return 1.0
        return min(max(self.value / self.threshold, 0.0), 1.0) if self.value and self.threshold else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The reading as JSON values."""
        return asdict(self)


class Trigger(ABC):
    """Says when it is time to fit. Asked on the learner's thread after each update, and about once a second: be quick.

    Attributes:
        name: What reports call it, and ``triggers.off`` switches off.
    """

    name: str

    @abstractmethod
    def due(self, activity: Activity) -> str | None:
        """Why it is time, in a few words, or None."""

    def reading(self, activity: Activity) -> Reading:
        """What it measured, and why it is time or not yet; override it to tell more than ``due`` does."""
        reason = self.due(activity)
        return Reading(self.name, reason is not None, "not yet" if reason is None else reason)


class Measured(Trigger):
    """A trigger whose reading says all.

    Args:
        minimum: Examples that there must be in all, at least 1; there is always one fresh one.
    """

    def __init__(self, minimum: int = 5) -> None:
        self.minimum = minimum

    def due(self, activity: Activity) -> str | None:
        """Why it is time, or None."""
        said = self.reading(activity)
        return said.reason if said.due else None

    @abstractmethod
    def reading(self, activity: Activity) -> Reading:
        """What it measured, and why it is time or not yet."""

    def said(
        self,
        activity: Activity,
        value: float | None,
        threshold: float,
        due: str | None,
        not_yet: str,
        unit: str = "",
    ) -> Reading:
        """The reading; ``due`` is why it is time, where nothing else stands in the way."""
        if due is not None and activity.examples < self.minimum:
            due, not_yet = None, f"{counted(activity.examples, 'example')} in all, it takes {self.minimum}"
        if due is not None and not activity.fresh:
            due, not_yet = None, "nothing fresh to learn from"
        return Reading(self.name, due is not None, due or not_yet, value, threshold, unit)


class ExampleCount(Measured):
    """Fits after so many fresh examples.

    Args:
        interval: Fresh examples that make a fit due, at least 1.
        minimum: Examples that there must be in all, at least 1.
        min_quality: Those count whose quality is at least this, in [0, 1]; None counts all.
    """

    name = "example_count"

    def __init__(self, interval: int = 10, minimum: int = 5, min_quality: float | None = None) -> None:
        super().__init__(minimum)
        self.interval = interval
        self._which = "fresh examples" if min_quality is None else f"fresh examples of quality {min_quality:g} or more"

    def reading(self, activity: Activity) -> Reading:
        """How many there are."""
        needed = self.interval * activity.patience
        due = f"{activity.counted:,} {self._which}" if activity.counted >= needed else None
        not_yet = f"{needed - activity.counted:,} more {self._which} to come"
        return self.said(activity, activity.counted, needed, due, not_yet, "examples")


class Schedule(Measured):
    """Fits once so many hours have passed since the last attempt, where there is something fresh to learn from.

    Args:
        hours: Above 0.
        minimum: Examples that there must be in all, at least 1.
    """

    name = "schedule"

    def __init__(self, hours: float, minimum: int = 5) -> None:
        super().__init__(minimum)
        self.hours = hours

    def reading(self, activity: Activity) -> Reading:
        """How long ago it was."""
        needed = self.hours * activity.patience
        if activity.seconds_since_fit is None:
            return self.said(activity, None, needed, "nothing was ever fitted", "", "hours")
        passed = activity.seconds_since_fit / HOUR_S
        due = f"{passed:.3g} hours since the last fit" if passed >= needed else None
        return self.said(activity, passed, needed, due, f"{needed - passed:.3g} hours to go", "hours")


class Manual(Trigger):
    """A person: nobody else is asked, and it has no cooldown."""

    name = "manual"

    def due(self, activity: Activity) -> str | None:
        """Never by itself."""
        return None

    def reading(self, activity: Activity) -> Reading:
        """How it is done."""
        return Reading(self.name, False, "at any time: router retrain, or router.models.retrain()")
