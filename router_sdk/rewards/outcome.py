"""Turns an outcome into a reward in [0, 1], or None while nothing is known: the protocol, and the default."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import CO_VARARGS
from types import FunctionType
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from router_sdk.errors import FAULTS, InvalidConfigError, InvalidRewardError, let_end
from router_sdk.records import Signals
from router_sdk.records.fields import Label
from router_sdk.records.plain import plain
from router_sdk.records.record import describe

Numbers = Sequence[float | None]


@runtime_checkable
class RewardFunction(Protocol):
    """Maps the joined parts of an outcome to the chosen agent's reward.

    A plain function with this signature serves too, or one that takes the signals alone. It must depend on nothing
    but its arguments, because the log is replayed through it.
    """

    def __call__(self, signals: Signals, agent: str | None) -> float | None:
        """The reward of ``agent`` in [0, 1], or None while it is unknown."""


def _ask(reward: RewardFunction, signals: Signals, agent: str | None) -> object:
    if isinstance(reward, FunctionType):
        code = reward.__code__
        if code.co_argcount == 1 and not code.co_flags & CO_VARARGS:
            return reward(signals)
    return reward(signals, agent)


def checked_reward(reward: RewardFunction, signals: Signals, agent: str | None) -> float | None:
    """Apply a reward function and hold it to its promise.

    Raises:
        InvalidRewardError: if it raises, or returns NaN, an infinity, a number outside [0, 1] or no number.
    """
    try:
        value = plain(_ask(reward, signals, agent))
    except FAULTS as error:
        let_end(error)
        raise InvalidRewardError(f"reward function raised {type(error).__name__}: {error}") from error
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise InvalidRewardError(f"reward function returned {value!r}; it must be None or a number in [0, 1]")
    return float(value)


def reward_name(reward: object) -> str:
    """What people call a reward."""
    while isinstance(reward, functools.partial):
        reward = reward.func
    return str(getattr(reward, "__qualname__", None) or type(reward).__qualname__)


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


_GOALS: TypeAdapter[dict[str, MetricGoal]] = TypeAdapter(
    Annotated[dict[Label, MetricGoal], Field(max_length=1_000)],
)


@dataclass(frozen=True, slots=True)
class OutcomeReward:
    """The default: what was judged or measured, else what was labelled, else whether it succeeded, minus what it cost.

    A failure (``success=False``) is worth 0. Otherwise the benefit is the mean of ``quality``, of ``feedback`` mapped
    from [-1, 1] to [0, 1], and of the metrics that have a goal, by its weight, as far as they are given; else 1 or 0
    by the label; else 1 for a success. With weights on latency or cost the reward is the weighted mean of the
    benefit, ``exp(-latency_ms / latency_scale_ms)`` and ``exp(-cost_usd / cost_scale_usd)``; a part that is unknown
    is left out.

    Args:
        quality: Weight of the benefit, above 0.
        latency: Weight of speed, at least 0.
        cost: Weight of cheapness, at least 0.
        latency_scale_ms: Latency at which speed is worth 1/e, in milliseconds.
        cost_scale_usd: Cost at which cheapness is worth 1/e, in US dollars.
        metrics: Goals of metrics, by name: ``MetricGoal`` or a mapping of its fields. Other metrics teach nothing.

    Raises:
        InvalidConfigError: if a weight, scale or goal is out of range.
    """

    quality: float = 1.0
    latency: float = 0.0
    cost: float = 0.0
    latency_scale_ms: float = 1_000.0
    cost_scale_usd: float = 0.01
    metrics: Mapping[str, MetricGoal] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in self._numbers().values()):
            raise InvalidConfigError("OutcomeReward: weights and scales must be finite and at least 0")
        if not (self.quality > 0 and self.latency_scale_ms > 0 and self.cost_scale_usd > 0):
            raise InvalidConfigError("OutcomeReward: the weight of quality and both scales must be above 0")
        if not math.isfinite(self.quality + self.latency + self.cost):
            raise InvalidConfigError("OutcomeReward: the sum of the weights must be finite")
        try:
            object.__setattr__(self, "metrics", _GOALS.validate_python(self.metrics))
        except ValidationError as error:
            raise InvalidConfigError(f"OutcomeReward: metrics.{describe(error)}") from None

    def _numbers(self) -> dict[str, float]:
        names = ("quality", "latency", "cost", "latency_scale_ms", "cost_scale_usd")
        return {name: float(getattr(self, name)) for name in names}

    @property
    def fingerprint(self) -> str:
        """What it depends on; of a reward without metrics it reads as in releases that had none."""
        told = ", ".join(f"{name}={value!r}" for name, value in self._numbers().items())
        goals = "".join(f", {name!r}: {self.metrics[name]!r}" for name in sorted(self.metrics))
        return f"OutcomeReward({told}{goals})"

    def to_dict(self) -> dict[str, Any]:
        """Its arguments, as JSON values."""
        return {**self._numbers(), "metrics": {name: goal.model_dump() for name, goal in self.metrics.items()}}

    def unstated(self, signals: Signals) -> list[str]:
        """Metrics that are all that an outcome says of how it went, and that teach nothing; the first few."""
        silent = signals.metrics and not signals.labelled and self(signals, None) is None
        return sorted(signals.metrics or ())[:5] if silent else []

    def plain(self, success: Numbers, quality: Numbers, latency_ms: Numbers, cost_usd: Numbers) -> list[float | None]:
        """Rewards of outcomes that say nothing else, a column each."""
        if not (self.latency or self.cost):
            return [
                0.0 if passed == 0 else judged if judged is not None else None if passed is None else 1.0
                for passed, judged in zip(success, quality, strict=True)
            ]
        said = (
            (None if row[0] is None else bool(row[0]), row[1], None, None, None, row[2], row[3])
            for row in zip(success, quality, latency_ms, cost_usd, strict=True)
        )
        return [self(Signals(*one), None) for one in said]

    def __call__(self, signals: Signals, agent: str | None) -> float | None:
        """The reward of ``agent`` in [0, 1], or None while nothing says how it did."""
        success, quality, feedback, correct_agent, no_agent_fits, latency_ms, cost_usd, _, metrics, *_ = signals
        total = weight = 0.0
        if self.metrics and metrics:
            total, weight = measured(self.metrics, metrics)
        if success is False:
            benefit = 0.0
        elif weight or quality is not None or feedback is not None:
            if quality is not None:
                total, weight = total + quality, weight + 1.0
            if feedback is not None:
                total, weight = total + (feedback + 1.0) / 2.0, weight + 1.0
            benefit = total / weight
        elif correct_agent is not None:
            benefit = 1.0 if correct_agent == agent else 0.0
        elif no_agent_fits:
            benefit = 1.0 if agent is None else 0.0
        elif success is None:
            return None
        else:
            benefit = 1.0
        if not (self.latency or self.cost):
            return benefit
        total, weight = self.quality * benefit, self.quality
        if self.latency and latency_ms is not None:
            total += self.latency * math.exp(-latency_ms / self.latency_scale_ms)
            weight += self.latency
        if self.cost and cost_usd is not None:
            total += self.cost * math.exp(-cost_usd / self.cost_scale_usd)
            weight += self.cost
        return total / weight


def with_metrics(reward: RewardFunction, goals: Mapping[str, MetricGoal]) -> RewardFunction:
    """The default reward, with these goals of metrics too.

    Raises:
        InvalidConfigError: if it is another reward, which reads metrics itself or not at all.
    """
    if not goals:
        return reward
    if not isinstance(reward, OutcomeReward):
        raise InvalidConfigError(
            f"reward_metrics: they belong to OutcomeReward, and the reward is {reward_name(reward)}; read "
            "signals.metrics there, or leave one of the two out"
        )
    return replace(reward, metrics={**reward.metrics, **goals})
