"""What a challenger must not do worse, whatever it wins elsewhere.

Each guardrail is a difference from the champion with its own confidence sequence, and is raised once that lies wholly
beyond what is tolerated: chance alone does not raise it. The error of a comparison is shared over all its guardrails
(Bonferroni): outcomes that are reported by other shares, as a whole and of each metric that is weighed; the quality of
each agent's tasks; and the metrics that the settings name.

An agent's tasks are those of the types that the champion gives to it more often than to any other, whoever gets them
from the challenger. An agent's own quality would say nothing: arms are drawn, and agents are not, and who gets the
harder tasks does worse for that alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from router_sdk.experiments.effects import pseudo_outcomes
from router_sdk.experiments.units import mean_of_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.evaluation.intervals import Interval
    from router_sdk.experiments.units import Steps, Units
    from router_sdk.loop_settings import ExperimentConfig

LEAST_REPORTS = 30
"""Units of each arm that must report a metric before anything is concluded from it."""

State = Literal["not raised", "raised", "insufficient"]


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One thing that a challenger must not do worse.

    Attributes:
        kind: ``reported`` (how often), ``metric`` or ``agent``.
        name: Of the metric or agent; ``outcome`` for outcomes of any kind.
        tolerance: How far below the champion it may lie, and for shares of reports how far above.
        difference: Challenger less champion.
        units: How many units of the champion and of the challenger say something.
        state: ``raised`` if the difference surely lies beyond what is tolerated, ``insufficient`` with too few units.
    """

    kind: Literal["reported", "metric", "agent"]
    name: str
    tolerance: float
    difference: Interval
    units: tuple[int, int]
    state: State

    def __str__(self) -> str:
        """What it is about, in words."""
        about = {
            "reported": f"share of units with {self.name}",
            "metric": self.name,
            "agent": f"quality of the tasks of {self.name}",
        }
        return about[self.kind]


class _Column(NamedTuple):
    kind: Literal["reported", "metric", "agent"]
    name: str
    tolerance: float
    values: NDArray[np.float64]


def guardrails(
    units: Units,
    closed: slice,
    challenger: int,
    weighed: tuple[str, ...],
    settings: ExperimentConfig,
    alpha: float,
    sharpest: float,
) -> tuple[Guardrail, ...]:
    """Of one challenger against the champion, over the closed units.

    Args:
        units: All units.
        closed: Which of them are looked at.
        challenger: Its place among the arms.
        weighed: The metrics that make up the composite.
        settings: What is tolerated.
        alpha: Chance that any is raised where all is as it may be.
        sharpest: After how many units sequences are to be at their narrowest.
    """
    arm, probability = units.arm[closed], units.probability[closed]
    columns = list(_columns(units, closed, weighed, settings))
    found = []
    for column in columns:
        ours, theirs = (arm == challenger), (arm == 0)
        told = ~np.isnan(column.values)
        counts = int((told & theirs).sum()), int((told & ours).sum())
        gap = pseudo_outcomes(column.values, ours, probability) - pseudo_outcomes(column.values, theirs, probability)
        difference = gap.interval(alpha / len(columns), sharpest)
        beyond = difference.high < -column.tolerance
        if column.kind == "reported":
            beyond = beyond or difference.low > column.tolerance
        state: State = "insufficient" if min(counts) < LEAST_REPORTS else "raised" if beyond else "not raised"
        found.append(Guardrail(column.kind, column.name, column.tolerance, difference, counts, state))
    return tuple(found)


def _columns(units: Units, closed: slice, weighed: tuple[str, ...], settings: ExperimentConfig) -> Iterator[_Column]:
    yield _Column("reported", "outcome", settings.missing_difference, units.reported[closed].astype(np.float64))
    for name in weighed:
        told = ~np.isnan(units.values[name][closed])
        yield _Column("reported", name, settings.missing_difference, told.astype(np.float64))
    for name, tolerance in settings.guardrails.items():
        yield _Column("metric", name, tolerance, units.values[name][closed])
    belongs = _whose(units)
    for place, name in enumerate(units.steps.agents):
        if np.any(belongs == place):
            values = quality_where(units.steps, belongs[units.steps.task_type] == place, units.at.size)[closed]
            yield _Column("agent", name, settings.agent_tolerance, values)


def _whose(units: Units) -> NDArray[np.int64]:
    """For each task type the agent to which the champion gives most of it; -1 where it gave none to anybody."""
    steps = units.steps
    chosen = (units.arm[steps.unit] == 0) & (steps.agent >= 0)
    counts = np.zeros((len(steps.task_types), max(len(steps.agents), 1)), dtype=np.int64)
    np.add.at(counts, (steps.task_type[chosen], steps.agent[chosen]), 1)
    favourite: NDArray[np.int64] = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return favourite


def quality_where(steps: Steps, which: NDArray[np.bool_], units: int) -> NDArray[np.float64]:
    """Each unit's mean quality over some of its steps, NaN where it has none that says anything, shape ``(units,)``."""
    return mean_of_steps(steps.quality[which], steps.unit[which], units)
