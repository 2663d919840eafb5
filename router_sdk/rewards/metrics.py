"""What a number of ``Outcome.metrics`` is worth: a goal, and the range in which it is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MetricGoal(BaseModel):
    """A metric's way into the reward: 1 at the better end of its range and beyond, 0 at the worse, linear between.

    Args:
        goal: ``"min"`` where less is better, as for an error; ``"max"`` where more is.
        low: The lower end of the range, in the metric's own unit.
        high: The upper end, above ``low``.
        weight: How much it counts beside ``quality`` and ``feedback``, which count 1 each; in [1e-6, 1e6].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    goal: Literal["min", "max"]
    low: float
    high: float
    weight: float = Field(default=1.0, ge=1e-6, le=1e6)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise ValueError(
                f"low must be below high, and both within what a number can tell apart: {self.low}, {self.high}"
            )
        return self

    def worth(self, value: float) -> float:
        """Of a value, in [0, 1]."""
        share = (min(max(float(value), self.low), self.high) - self.low) / (self.high - self.low)
        return share if self.goal == "max" else 1.0 - share


def measured(goals: Mapping[str, MetricGoal], metrics: Mapping[str, object]) -> tuple[float, float]:
    """Sum of the weighted worths of the metrics that have a goal, and of their weights; texts are no numbers."""
    total = weight = 0.0
    for name, goal in goals.items():
        value = metrics.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            total += goal.weight * goal.worth(value)
            weight += goal.weight
    return total, weight
