"""The default reward: from what an outcome says, by rules and weights that a configuration can state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from router_sdk.errors import InvalidConfigError
from router_sdk.records import Signals
from router_sdk.records.fields import Label
from router_sdk.records.record import describe
from router_sdk.rewards.function import RewardFunction, reward_name
from router_sdk.rewards.metrics import MetricGoal, measured

Numbers = Sequence[float | None]

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
