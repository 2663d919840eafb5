"""How good an execution was, where nobody said so: quality scorers, what feedback alone tells, and several together.

A score is written into the log as a part of the outcome, ``quality`` with its origin, its scorer as the actor, and what
it is made of as the reason. Where somebody states a quality, no scorer says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from router_sdk.records import Outcome, Signals, Task

if TYPE_CHECKING:
    from router_sdk.records.outcome import Origin

SIGNALS: Mapping[str, float] = MappingProxyType({"copy": 0.9, "edit": 0.5, "abandon": 0.2, "retry": 0.1})
"""What a user does is worth, by itself. A convention, not a measurement: set your own in ``quality.signals``."""
THUMB_WEIGHT = 4.0
"""How many signals what a user says outweighs."""
_SHOWN = 8


class Execution(NamedTuple):
    """What is known of a decision's execution, without what scorers said.

    Attributes:
        decision_id: Which decision.
        task: What was to be done.
        agent: Who did it; None where nobody fitted.
        response: What the agent answered, where that was recorded and kept.
        parts: What was said of it, in order: each with its ``origin`` and ``actor``.
        signals: What the parts come to.
        newest: Position in the log of the newest part.
    """

    decision_id: str
    task: Task
    agent: str | None
    response: str | None
    parts: tuple[Outcome, ...]
    signals: Signals
    newest: int


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says.

    Attributes:
        value: How good, in [0, 1].
        weight: How much it counts beside other scorers', above 0.
        because: What moved it from where it would be without, and by how much, in quality.
    """

    value: float
    weight: float = 1.0
    because: Mapping[str, float] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What it is made of, the largest first."""
        largest = sorted(self.because.items(), key=lambda pair: -abs(pair[1]))[:_SHOWN]
        return f"{self.value:.2f}: " + ", ".join(f"{name} {moved:+.2f}" for name, moved in largest)


class QualityScorer(ABC):
    """Says how good executions were. It must depend on nothing but what it is given.

    Attributes:
        name: Under which it is asked for.
        origin: Whose word it is: a ``judge``'s, or what ``signal`` users gave.
        needs_text: Whether it is of no use where the log keeps no texts.
    """

    name: ClassVar[str]
    origin: ClassVar[Origin] = "judge"
    needs_text: ClassVar[bool] = False

    @abstractmethod
    def score(self, execution: Execution) -> Score | None:
        """How good an execution was; None where there is nothing to say."""

    def fit(self, scored: Sequence[tuple[Execution, float]]) -> str | None:
        """Learn from executions of which somebody said how good they were; no score of any scorer is among them.

        Called anew as more are there, with the newest of them, oldest first; from scratch, whatever came before.

        Returns:
            Why it cannot score yet, or None where it can. By default it needs nothing.
        """
        return None

    @property
    def learns(self) -> bool:
        """Whether it is fitted."""
        return type(self).fit is not QualityScorer.fit


class FeedbackScorer(QualityScorer):
    """What users said and did: the mean of the newest thumb, and of each thing that they did, by its worth.

    A thumb outweighs four signals, because who says so means it. What is not known is no part of the mean; without any
    of it there is no score.

    Args:
        signals: What each signal is worth, in [0, 1], by its ``actor``; others say nothing.
    """

    name = "feedback"
    origin: ClassVar[Origin] = "signal"

    def __init__(self, signals: Mapping[str, float] = SIGNALS) -> None:
        self._signals = signals

    def score(self, execution: Execution) -> Score | None:
        """The weighted mean; each part moves it by its share of the distance to the middle."""
        done = dict.fromkeys(one.actor or "" for one in execution.parts if one.origin == "signal")
        said = {name: (self._signals[name], 1.0) for name in done if name in self._signals}
        if execution.signals.feedback is not None:
            said["feedback"] = ((execution.signals.feedback + 1.0) / 2.0, THUMB_WEIGHT)
        return weighted_mean(said)


def weighted_mean(said: Mapping[str, tuple[float, float]]) -> Score | None:
    """The mean of values by their weights; None of nothing."""
    total = sum(weight for _, weight in said.values())
    if not total:
        return None
    value = sum(weight * worth for worth, weight in said.values()) / total
    because = {name: weight * (worth - 0.5) / total for name, (worth, weight) in said.items()}
    return Score(min(max(value, 0.0), 1.0), total, because)


def ensemble(scores: Mapping[str, Score]) -> Score | None:
    """What several scorers come to: the mean of what they say by their weights, each with its own reasons.

    A scorer that says nothing has no part in it.
    """
    if len(scores) == 1:
        return next(iter(scores.values()))
    mean = weighted_mean({name: (score.value, score.weight) for name, score in scores.items()})
    if mean is None:
        return None
    shares = {name: score.weight / mean.weight for name, score in scores.items()}
    because = {
        f"{name}: {what}": shares[name] * moved
        for name, score in scores.items()
        for what, moved in score.because.items()
    }
    return Score(mean.value, mean.weight, because or mean.because)
