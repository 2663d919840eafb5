"""One look at the closed units: each arm's figures, and how far each challenger lies from the champion.

The error that the settings allow is shared over the challengers (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.evaluation.intervals import Interval
from router_sdk.experiments.effects import Path, Pseudo, composite, path, pseudo_outcomes, sharpest_at, units_needed
from router_sdk.experiments.guardrails import LEAST_REPORTS, Guardrail, guardrails, quality_where
from router_sdk.experiments.units import HOUR_S
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.experiments.units import Units
    from router_sdk.loop_settings import ExperimentConfig

_RARE = 0.01
"""Share of closed units below which a metric that they report is left out of the composite."""
_POINTS = 240
"""Of a sequence that is drawn."""
_LATELY_H = 24.0
"""What today's traffic is, in hours."""


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm's figures.

    Attributes:
        name: Its name.
        assigned: Units that came to it.
        closed: Those of them that count.
        reported: Share of the closed ones with any outcome, or None without one.
        mean: The composite, with its confidence sequence.
        error: Its standard error, as of this look alone; infinite with fewer than two units.
        metrics: Of each metric the same.
        reports: Of each metric how many closed units say something.
        agents: Of each agent, and of None where none was found to fit, how many decisions.
    """

    name: str
    assigned: int
    closed: int
    reported: float | None
    mean: Interval
    error: float
    metrics: Mapping[str, Interval]
    reports: Mapping[str, int]
    agents: Mapping[str | None, int]


@dataclass(frozen=True, slots=True)
class Remaining:
    """What an open experiment may still take, at today's traffic.

    Attributes:
        units: Units that must still come.
        hours: Until it may be decided, their outcomes included; infinite without traffic.
        assumption: What was assumed, in words.
    """

    units: int
    hours: float
    assumption: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger against the champion.

    Attributes:
        arm: Its name.
        difference: Of the composite, challenger less champion, in [-1, 1], as a confidence sequence.
        error: Its standard error, as of this look alone; infinite with fewer than two units.
        improvement: The difference over the champion's mean, or None where that is too low to divide by.
        metrics: The difference of each metric.
        task_types: Of each task type the difference in quality.
        guardrails: What it must not do worse.
        path: The sequence over time.
        remaining: What it may still take; None once it is decided.
    """

    arm: str
    difference: Interval
    error: float
    improvement: float | None
    metrics: Mapping[str, Interval]
    task_types: Mapping[str, Interval]
    guardrails: tuple[Guardrail, ...]
    path: Path
    remaining: Remaining | None


class Look:
    """One look at the closed units.

    They count from the first one on of which anything was reported, whose ever: a program that begins to record later
    than it routes says nothing of the arms by that.

    Args:
        units: All units.
        settings: How they are looked at.
        started_at: When the experiment began, in seconds since the epoch.
    """

    def __init__(self, units: Units, settings: ExperimentConfig, started_at: float) -> None:
        self.units, self.settings, self.started_at = units, settings, started_at
        self.closed = slice(0, units.closed)
        told = np.flatnonzero(units.reported[self.closed])
        self.judged = slice(int(told[0]) if told.size else 0, units.closed)
        self.arm_of, self._probability = units.arm[self.judged], units.probability[self.judged]
        self.values = {name: values[self.judged] for name, values in units.values.items()}
        often = {
            name: float(np.mean(~np.isnan(values))) if values.size else 0.0 for name, values in self.values.items()
        }
        used = {name: weight for name, weight in settings.weights.items() if weight > 0 and often[name] >= _RARE}
        self.left_out = [name for name, weight in settings.weights.items() if weight > 0 and name not in used]
        self.weights = {name: weight / sum(used.values()) for name, weight in used.items()}
        arms = range(len(units.arms))
        self.alpha = settings.alpha / (len(arms) - 1)
        share = settings.rollout[0] if settings.rollout else settings.challenger_share
        self.sharpest = sharpest_at((max(1.0 - (len(arms) - 1) * share, share), share))
        self._metrics = [{name: self._worth(values, arm) for name, values in self.values.items()} for arm in arms]
        nothing = Pseudo(np.zeros(0), np.zeros(0))
        self._composite = [composite(parts, self.weights) if self.weights else nothing for parts in self._metrics]

    def _worth(self, values: NDArray[np.float64], arm: int) -> Pseudo:
        return pseudo_outcomes(values, self.arm_of == arm, self._probability)

    def _interval(self, pseudo: Pseudo) -> Interval:
        return pseudo.interval(self.alpha, self.sharpest)

    def arm(self, place: int) -> ArmFigures:
        """One arm's figures."""
        units = self.units
        mine = units.arm[self.closed] == place
        closed = int(mine.sum())
        chosen = units.steps.agent[units.arm[units.steps.unit] == place] + 1  # nobody comes first
        counts = np.bincount(chosen, minlength=len(units.steps.agents) + 1)
        return ArmFigures(
            units.arms[place],
            int((units.arm == place).sum()),
            closed,
            float(units.reported[self.closed][mine].mean()) if closed else None,
            self._interval(self._composite[place]),
            self._composite[place].error,
            {name: self._interval(pseudo) for name, pseudo in self._metrics[place].items()},
            {name: int((mine & ~np.isnan(units.values[name][self.closed])).sum()) for name in self.values},
            {name: int(count) for name, count in zip((None, *units.steps.agents), counts, strict=True) if count},
        )

    def comparison(self, place: int, champion: ArmFigures) -> Comparison:
        """A challenger against the champion.

        Args:
            place: The challenger's, among the arms.
            champion: The champion's figures.
        """
        units, settings = self.units, self.settings
        gap = self._composite[place] - self._composite[0]
        difference = self._interval(gap)
        base = champion.mean.mean
        closed_at = units.at[self.judged] + units.window_s
        improvement = difference.mean / base if gap.values.size and base >= max(settings.least_mean, 1e-9) else None
        return Comparison(
            units.arms[place],
            difference,
            gap.error,
            improvement,
            {name: self._interval(ours - self._metrics[0][name]) for name, ours in self._metrics[place].items()},
            self._by_task_type(place),
            guardrails(units, self.judged, place, tuple(self.weights), settings, self.alpha, self.sharpest),
            path(gap, closed_at[: gap.values.size], self.alpha, self.sharpest, _POINTS),
            self._remaining(place, gap, difference, base),
        )

    def _by_task_type(self, place: int) -> dict[str, Interval]:
        found = {}
        for at, name in enumerate(self.units.steps.task_types):
            values = quality_where(self.units.steps, self.units.steps.task_type == at, self.units.at.size)[self.judged]
            found[name] = self._interval(self._worth(values, place) - self._worth(values, 0))
        return found

    def _remaining(self, place: int, gap: Pseudo, difference: Interval, base: float) -> Remaining:
        """What it may take if the effect is what it seems, or the least that would count where that is more."""
        units, settings = self.units, self.settings
        hours = max((units.now - self.started_at) / HOUR_S, 1e-9)
        lately = min(hours, _LATELY_H)
        rate = float((units.at > units.now - lately * HOUR_S).sum()) / lately
        mine = np.flatnonzero(units.arm == place)
        share = float(units.probability[mine[-1]]) if mine.size else settings.challenger_share
        wanted = settings.min_units / max(min(share, 1.0 - share), 1e-9)
        told = f"{rate:,.0f} units" if rate >= 10.0 else f"{rate:.2g} unit{'' if rate == 1.0 else 's'}"
        told += " an hour as of late"
        if gap.values.size >= LEAST_REPORTS:
            effect = max(abs(difference.mean), settings.min_improvement * base, 1e-6)
            wanted = max(wanted, units_needed(gap, effect, self.alpha, self.sharpest))
            told += f", a difference of {effect:.3f}, and the shares and the spread seen so far"
        else:
            told += "; how much outcomes differ is not known yet, so that it may take longer"
        if wanted <= self.closed.stop:
            told += "; a difference of that size would have shown by now: what there is is smaller"
        missing = max(int(min(wanted, 1e9)) - units.at.size, 0)
        wait = missing / rate if missing and rate else math.inf if missing else 0.0
        waits_s = units.window_s if wanted > self.closed.stop else 0.0
        wait, least = wait + waits_s / HOUR_S, settings.min_duration_hours - hours
        if least > wait:
            told += f"; it runs {_hours(settings.min_duration_hours)} at least (min_duration_hours)"
        elif waits_s:
            told += f"; {_hours(waits_s / HOUR_S)} of that until the last unit closes (outcome_window_hours)"
        return Remaining(missing, max(wait, least, 0.0), told)

    def notes(self) -> list[str]:
        """What somebody should know who reads the figures."""
        found = []
        if self.left_out and self.units.closed:
            found.append(f"left out, as fewer than {_RARE:.0%} of the units report it: {', '.join(self.left_out)}")
        for name, count in self.units.out_of_range.items():
            found.append(
                f"{count:,} values of {name} lie outside [0, 1] and were left out: scale it when you record it"
            )
        return found


def _hours(hours: float) -> str:
    """A setting in hours, in words."""
    if hours < 1.0:
        return counted(max(round(60.0 * hours), 1), "minute")
    return f"{hours:,.1f}".removesuffix(".0") + (" hour" if hours == 1.0 else " hours")
