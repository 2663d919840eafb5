"""Triggers that look at the outcomes of a window: a fall of rewards, failures, dislike, little confidence, drift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, sqrt
from statistics import fmean, pvariance

from router_sdk.spelling import counted
from router_sdk.triggers import HOUR_S, WINDOW, Activity, Heard, Measured, Reading

_CHANCE, _CHANCE_OF_MANY = 2.0, 3.0
"""Standard errors that a fall must exceed: of one figure, and of the worst of several agents'."""


class Windowed(Measured):
    """A trigger that looks at the outcomes of a window.

    Args:
        threshold: From which value it is time, above 0.
        hours: How far back "of late" reaches, above 0.
        least: Outcomes that it takes to say anything, at least 2.
        minimum: Examples that there must be in all, at least 1.
    """

    def __init__(self, threshold: float, hours: float = 24.0, least: int = 50, minimum: int = 5) -> None:
        super().__init__(minimum)
        self.threshold, self.hours, self.least = threshold, hours, least

    def _takes(self, activity: Activity) -> int:
        return min(self.least * activity.patience, WINDOW)

    def _too_few(self, activity: Activity, count: int, what: str, value: float | None = None) -> Reading:
        words = f"{count} {what} since the last fit, it takes {self._takes(activity)}"
        return self.said(activity, value, self.threshold, None, words)


class QualityDrop(Windowed):
    """Fits where rewards are lower of late than before, by the threshold and by more than chance explains."""

    name = "quality_drop"

    def reading(self, activity: Activity) -> Reading:
        """Mean reward before, less that of late."""
        late, before = (_rewards(some) for some in activity.lately(self.hours))
        if len(late) < self._takes(activity):
            return self._too_few(activity, len(late), "rewarded outcomes", _fall(before, late))
        if len(before) < self.least:
            words = f"{len(before)} rewarded outcomes before them to compare with, it takes {self.least}"
            return self.said(activity, _fall(before, late), self.threshold, None, words)
        fall = fmean(before) - fmean(late)
        words = f"the mean reward went from {fmean(before):.3f} to {fmean(late):.3f}"
        if fall < self.threshold:
            return self.said(activity, fall, self.threshold, None, words)
        if fall < _CHANCE * _error(before, late):
            return self.said(activity, fall, self.threshold, None, f"{words}, which may be chance")
        return self.said(activity, fall, self.threshold, words, "")


class ErrorRate(Windowed):
    """Fits where too many executions fail."""

    name = "error_rate"
    _what, _words = "outcomes that say whether it succeeded", "executions failed"

    def reading(self, activity: Activity) -> Reading:
        """The share that failed."""
        late, _ = activity.lately(self.hours)
        known = [said for said in map(self._bad, late) if said is not None]
        rate = fmean(known) if known else None
        if rate is None or len(known) < self._takes(activity):
            return self._too_few(activity, len(known), self._what, rate)
        words = f"{sum(known)} of {len(known)} {self._words}"
        return self.said(activity, rate, self.threshold, words if rate >= self.threshold else None, words)

    @staticmethod
    def _bad(one: Heard) -> bool | None:
        return one.failed


class NegativeFeedback(ErrorRate):
    """Fits where too much of the feedback is negative."""

    name = "negative_feedback"
    _what, _words = "outcomes with feedback", "were disliked"

    @staticmethod
    def _bad(one: Heard) -> bool | None:
        return one.disliked


class LowConfidence(Windowed):
    """Fits where too many decisions are made with little confidence, whoever in the chain made them.

    Args:
        threshold: From which share of the decisions it is time, in (0, 1].
        below: Which confidence is little, in (0, 1].
        hours: How far back "of late" reaches, above 0.
        least: Decisions that it takes to say anything, at least 2.
        minimum: Examples that there must be in all, at least 1.
    """

    name = "low_confidence"

    def __init__(
        self, threshold: float, below: float = 0.5, hours: float = 24.0, least: int = 50, minimum: int = 5
    ) -> None:
        super().__init__(threshold, hours, least, minimum)
        self.below = below

    def reading(self, activity: Activity) -> Reading:
        """The share of little confidence."""
        first = activity.now - HOUR_S * self.hours
        late = [one.confidence for one in activity.answers if one.seq > activity.upto and one.at >= first][-WINDOW:]
        low = sum(confidence < self.below for confidence in late)
        share = low / len(late) if late else None
        if share is None or len(late) < self._takes(activity):
            return self._too_few(activity, len(late), "decisions", share)
        words = f"{low} of {counted(len(late), 'decision')} with a confidence below {self.below:g}"
        return self.said(activity, share, self.threshold, words if share >= self.threshold else None, words)


class Drift(Windowed):
    """Fits where an agent does worse of late than it ever did, or it is reported that one, or the tasks, changed.

    What is compared is each agent with itself, so that it shows also where the others make up for it. Changes are
    reported by ``learning.drift``, and by strategies: by a count for each agent under ``changes`` in its ``report``.
    """

    name = "drift"

    def reading(self, activity: Activity) -> Reading:
        """By how much the agent that fell most earns less than over its lifetime."""
        late, _ = activity.lately(self.hours)
        rewards: dict[str, list[float]] = {}
        for one in late:
            if one.agent is not None and one.reward is not None and one.agent in activity.lifetime:
                rewards.setdefault(one.agent, []).append(one.reward)
        enough = {agent: some for agent, some in rewards.items() if len(some) >= self._takes(activity)}
        falls = {agent: activity.lifetime[agent] - fmean(some) for agent, some in enough.items()}
        worst = max(falls, key=falls.__getitem__, default=None)
        due, words, value = None, f"no agent has {self._takes(activity)} rewarded outcomes since the last fit", None
        if worst is not None:
            value = falls[worst]
            words = (
                f"{worst} earns {fmean(enough[worst]):.3f} of late, {activity.lifetime[worst]:.3f} over its lifetime"
            )
            if value >= self.threshold and value >= _CHANCE_OF_MANY * _error(enough[worst]):
                due = words
        if activity.changes and due is None and len(late) >= self._takes(activity):
            due = "changed: " + ", ".join(sorted(activity.changes))
        return self.said(activity, value, self.threshold, due, words)


def _rewards(heard: Iterable[Heard]) -> list[float]:
    return [one.reward for one in heard if one.reward is not None]


def _fall(before: Sequence[float], late: Sequence[float]) -> float | None:
    return fmean(before) - fmean(late) if before and late else None


def _error(*samples: Sequence[float]) -> float:
    """Standard error of the difference between the means of samples (Welch)."""
    return sqrt(sum(pvariance(some) / (len(some) - 1) if len(some) > 1 else inf for some in samples))
