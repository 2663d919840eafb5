"""Outcome to reward: a number in [0, 1], or None while nothing is known."""

from __future__ import annotations

import hashlib
import math
from dataclasses import astuple, dataclass, is_dataclass
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from router_sdk.errors import InvalidConfigError, InvalidRewardError
from router_sdk.isolation import FAULTS, let_end

if TYPE_CHECKING:
    from router_sdk.records import Signals


@runtime_checkable
class RewardFunction(Protocol):
    """Maps the joined parts of an outcome to the chosen agent's reward.

    A plain function with this signature serves too. It must depend on nothing but its arguments, because the
    log is replayed through it.
    """

    def __call__(self, signals: Signals, agent: str | None) -> float | None:
        """The reward of ``agent`` in [0, 1], or None while it is unknown."""


@dataclass(frozen=True, slots=True)
class OutcomeReward:
    """The default: what was judged, else what was labelled, else whether it succeeded, minus what it cost.

    A failure (``success=False``) is worth 0. Otherwise the benefit is the mean of ``quality`` and of
    ``feedback`` mapped from [-1, 1] to [0, 1], where given; else 1 or 0 by the label; else 1 for a success.
    With weights on latency or cost the reward is the weighted mean of the benefit, ``exp(-latency_ms /
    latency_scale_ms)`` and ``exp(-cost_usd / cost_scale_usd)``; a part that is unknown is left out.

    Args:
        quality: Weight of the benefit, above 0.
        latency: Weight of speed, at least 0.
        cost: Weight of cheapness, at least 0.
        latency_scale_ms: Latency at which speed is worth 1/e, in milliseconds.
        cost_scale_usd: Cost at which cheapness is worth 1/e, in US dollars.

    Raises:
        InvalidConfigError: if a weight or scale is out of range.
    """

    quality: float = 1.0
    latency: float = 0.0
    cost: float = 0.0
    latency_scale_ms: float = 1_000.0
    cost_scale_usd: float = 0.01

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in astuple(self)):
            raise InvalidConfigError("OutcomeReward: weights and scales must be finite and at least 0")
        if not (self.quality > 0 and self.latency_scale_ms > 0 and self.cost_scale_usd > 0):
            raise InvalidConfigError("OutcomeReward: the weight of quality and both scales must be above 0")

    def __call__(self, signals: Signals, agent: str | None) -> float | None:
        """The reward of ``agent`` in [0, 1], or None while nothing says how it did."""
        success, quality, feedback, correct_agent, no_agent_fits, latency_ms, cost_usd, *_ = signals
        if success is False:
            benefit = 0.0
        elif quality is not None:
            benefit = quality if feedback is None else (quality + (feedback + 1.0) / 2.0) / 2.0
        elif feedback is not None:
            benefit = (feedback + 1.0) / 2.0
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


def reward_fingerprint(reward: object) -> str:
    """Name a reward function so that a snapshot made under another one is recognised and replayed.

    A function is known by its code, defaults and closure, a dataclass by its fields, any other object by its class
    and its attribute ``fingerprint``; give it one where it has parameters.
    """
    if isinstance(reward, FunctionType):
        closure = [repr(cell.cell_contents) for cell in reward.__closure__ or ()]
        inside = repr((_code(reward.__code__), reward.__defaults__, reward.__kwdefaults__, closure))
        return f"{reward.__module__}.{reward.__qualname__}:{hashlib.sha256(inside.encode()).hexdigest()[:16]}"
    if is_dataclass(reward):
        described: object = repr(reward)
    else:
        described = getattr(reward, "fingerprint", None) or getattr(reward, "__qualname__", "")
    return f"{type(reward).__module__}.{type(reward).__qualname__}:{described}"


def _code(code: CodeType) -> tuple[object, ...]:
    """What a code object does, without where it stands; sets are sorted, because their order changes by process."""

    def plain(constant: object) -> object:
        if isinstance(constant, CodeType):
            return _code(constant)
        return sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant

    return (code.co_code, code.co_names, tuple(plain(constant) for constant in code.co_consts))


def checked_reward(reward: RewardFunction, signals: Signals, agent: str | None) -> float | None:
    """Apply a reward function and hold it to its promise.

    Raises:
        InvalidRewardError: if it raises, or returns NaN, an infinity, a number outside [0, 1] or no number.
    """
    try:
        value = reward(signals, agent)
    except FAULTS as error:
        let_end(error)
        raise InvalidRewardError(f"reward function raised {type(error).__name__}: {error}") from error
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise InvalidRewardError(f"reward function returned {value!r}; it must be None or a number in [0, 1]")
    return float(value)
