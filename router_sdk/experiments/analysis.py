"""An experiment as it stands: each arm's figures, how far each challenger lies from the champion, and the verdict.

It may be asked as often as one likes: each comparison is a confidence sequence, see ``effects``, so that it holds at
all looks at once. A verdict stays: who keeps it hands it back at the next look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from router_sdk.evaluation.intervals import Interval
from router_sdk.experiments.comparison import ArmFigures, Comparison, Look
from router_sdk.experiments.sample_ratio import SampleRatio, sample_ratio
from router_sdk.experiments.units import HOUR_S
from router_sdk.experiments.verdict import RUNNING, Verdict, judge

if TYPE_CHECKING:
    from router_sdk.experiments.units import Units
    from router_sdk.loop_settings import ExperimentConfig


@dataclass(frozen=True, slots=True)
class Analysis:
    """An experiment as it stands.

    Attributes:
        now: As of when, in seconds since the epoch.
        started_at: When it began.
        weights: Of the metrics that were reported, as they are used; they sum to 1.
        arms: The champion, then the challengers.
        comparisons: One a challenger.
        sample_ratio: Units by arm against the configured split.
        verdict: What came of it.
        notes: What somebody should know who reads the figures.
    """

    now: float
    started_at: float
    weights: Mapping[str, float]
    arms: tuple[ArmFigures, ...]
    comparisons: tuple[Comparison, ...]
    sample_ratio: SampleRatio
    verdict: Verdict
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The analysis as JSON values, without the paths; what is not finite is None."""
        told = asdict(self)
        for comparison in told["comparisons"]:
            del comparison["path"]
        plain: dict[str, Any] = _plain(told)
        return plain

    def sequences(self) -> dict[str, dict[str, Any]]:
        """The paths that ``to_dict`` leaves out, by challenger, as JSON values."""
        return {
            one.arm: _plain(
                {
                    "hours": ((one.path.at - self.started_at) / HOUR_S).tolist(),
                    "mean": one.path.mean.tolist(),
                    "low": one.path.low.tolist(),
                    "high": one.path.high.tolist(),
                }
            )
            for one in self.comparisons
        }


def analyse(units: Units, settings: ExperimentConfig, started_at: float, before: Verdict = RUNNING) -> Analysis:
    """Analyse an experiment.

    Args:
        units: As ``read_units`` reads them.
        settings: How it is decided.
        started_at: When it began, in seconds since the epoch.
        before: The verdict of the look before; a final one stays, and challengers that lost have lost.
    """
    look = Look(units, settings, started_at)
    arms = tuple(look.arm(place) for place in range(len(units.arms)))
    ratio = sample_ratio(units.arm, units.probability, len(units.arms))
    comparisons = tuple(look.comparison(place, arms[0]) for place in range(1, len(units.arms)))
    verdict = before if before.final else judge(look, arms, comparisons, ratio, before)
    over = {*units.arms} if verdict.final else {*verdict.lost}
    comparisons = tuple(replace(one, remaining=None) if one.arm in over else one for one in comparisons)
    return Analysis(units.now, started_at, look.weights, arms, comparisons, ratio, verdict, tuple(look.notes()))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {"null" if name is None else name: _plain(each) for name, each in value.items()}
    if isinstance(value, Interval):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
