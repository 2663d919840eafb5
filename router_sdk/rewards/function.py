"""What a reward function is, and what it is held to."""

from __future__ import annotations

import functools
from inspect import CO_VARARGS
from types import FunctionType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from router_sdk.errors import InvalidRewardError
from router_sdk.isolation import FAULTS, let_end
from router_sdk.records.plain import plain

if TYPE_CHECKING:
    from router_sdk.records import Signals


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
