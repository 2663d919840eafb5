"""When to fit: triggers look at what happened since the last fit and say why it is time, or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Activity:
    """What a trigger may know of one strategy.

    Attributes:
        strategy: Its name.
        examples: Decisions with an outcome in the whole log.
        fresh: Those whose outcome came after the last attempt to fit.
        model_version: What serves, or None while nothing was fitted.
        recent_reward: Mean reward of the last 100 outcomes, or None.
        earlier_reward: That of the 100 before, or None.
        seconds_since_fit: Since the last attempt, in seconds; None if there was none.
    """

    strategy: str
    examples: int
    fresh: int
    model_version: int | None
    recent_reward: float | None
    earlier_reward: float | None
    seconds_since_fit: float | None


class Trigger(ABC):
    """Says when it is time to fit. Asked on the learner's thread after each update, and about once a second: be quick.

    Attributes:
        name: What reports call it.
    """

    name: str

    @abstractmethod
    def due(self, activity: Activity) -> str | None:
        """Why it is time, in a few words, or None."""


class ExampleCount(Trigger):
    """Fits after so many fresh examples.

    Args:
        interval: Fresh examples that make a fit due, at least 1.
        minimum: Examples that there must be in all, at least 1.
    """

    name = "example_count"

    def __init__(self, interval: int = 10, minimum: int = 5) -> None:
        self.interval, self.minimum = interval, minimum

    def due(self, activity: Activity) -> str | None:
        """Why it is time, or None."""
        if activity.fresh >= self.interval and activity.examples >= self.minimum:
            return f"{activity.fresh} fresh examples"
        return None
