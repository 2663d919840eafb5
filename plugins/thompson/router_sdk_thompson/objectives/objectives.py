"""What is wanted besides quality: speed, cheapness, and budgets. Turned at decision time, without relearning."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Window(BaseModel):
    """A budget that starts again: after so many tasks, or after so much time of the log.

    What one window overspent is taken from the next; what it left over is not carried on.

    Raises:
        ValueError: unless exactly one of ``tasks`` and ``seconds`` is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tasks: int | None = Field(default=None, ge=1)
    """Outcomes with a known cost or latency in a window."""
    seconds: float | None = Field(default=None, gt=0.0)
    """Log time in a window, in seconds; windows start at its multiples since the epoch."""
    max_cost_usd: float | None = Field(default=None, gt=0.0)
    """What may be spent in a window in all, in US dollars."""
    max_latency_ms: float | None = Field(default=None, gt=0.0)
    """Latencies of a window summed, in milliseconds."""

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.tasks is None) == (self.seconds is None):
            raise ValueError("a window is measured in tasks or in seconds; give one of them")
        return self


class Objectives(BaseModel):
    """Weights and budgets.

    The utility of an agent is the weighted mean of its expected reward, ``exp(-latency_ms / latency_scale_ms)`` and
    ``exp(-cost_usd / cost_scale_usd)``; what is not known of an agent is left out of its mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cost_quality_tradeoff: float | None = Field(default=None, ge=0.0, lt=1.0)
    """One dial in place of the weights of quality and cost: 0 is quality alone, towards 1 cheapness decides."""
    quality: float = Field(default=1.0, gt=0.0)
    """Weight of the reward."""
    latency: float = Field(default=0.0, ge=0.0)
    """Weight of speed."""
    cost: float = Field(default=0.0, ge=0.0)
    """Weight of cheapness."""
    latency_scale_ms: float = Field(default=1_000.0, gt=0.0)
    """Latency at which speed is worth 1/e, in milliseconds."""
    cost_scale_usd: float = Field(default=0.01, gt=0.0)
    """Cost at which cheapness is worth 1/e, in US dollars."""
    max_cost_usd: float | None = Field(default=None, gt=0.0)
    """Budget per task on average, in US dollars."""
    max_latency_ms: float | None = Field(default=None, gt=0.0)
    """Latency per task on average, in milliseconds."""
    window: Window | None = None
    """Budgets that start again."""

    @model_validator(mode="before")
    @classmethod
    def _one_dial(cls, given: Any) -> Any:
        dial = given.get("cost_quality_tradeoff") if isinstance(given, dict) else None
        if not isinstance(dial, (int, float)) or not 0.0 <= dial < 1.0:
            return given  # the field itself says what is wrong
        weights = {"quality": 1.0 - dial, "cost": dial}
        if any(given.get(name, weight) != weight for name, weight in weights.items()):
            raise ValueError("give cost_quality_tradeoff, or the weights quality and cost, not both")
        return {**given, **weights}

    @property
    def quality_alone(self) -> bool:
        """Whether nothing but the reward counts."""
        return not (self.latency or self.cost or self.max_cost_usd or self.max_latency_ms or self.window)
