"""Detects that an agent changed: what outcomes say against what was expected.

Cumulative sums (Page, 1954) are a few numbers per agent, so that they cost next to nothing per outcome, are saved with
these numbers, and need no window. ``ResidualCusum`` looks both ways for a shift of standardised residuals;
``BernoulliCusum`` for a fall of a success rate, by log likelihood ratios, and tells since when.

ADWIN (Bifet and Gavaldà, 2007) comes from ``river``, whose state can only be pickled. So the residuals since its window
last began are kept beside it, and a fresh one that is given the same ones is the same; the window is begun anew before
it grows long. A shorter window may find a change that the longer one did not, because what came first was more
scattered: that is an alarm like any other.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import isfinite, log, sqrt
from typing import Any, Literal, NamedTuple, Protocol

DetectorKind = Literal["cusum", "adwin"]

ALLOWANCE = 0.4
"""Shift, in standard deviations, that is put down to an imperfect posterior."""
MOST_RISE = 3.0
"""Most that one outcome says for a rise: where successes are rare, each is many standard deviations off."""
LEAST_VARIANCE = 0.04
"""Floor under a Bernoulli residual's variance, so that one upset of a sure thing is no alarm."""
RECORD = 0.99
"""What an outcome in the running record still counts for after the next one."""
LOWEST, HIGHEST = 0.05, 0.98
"""Chances of success are taken to lie between these."""
FALL = 0.5
"""What a changed agent's chances are taken to have fallen to, as a share."""


class Detector(Protocol):
    """Watches one agent's residuals.

    Attributes:
        alarms: Changes found so far.
    """

    alarms: int

    def update(self, residual: float, threshold: float) -> bool:
        """Take one outcome in; True where the agent is no longer what it was."""

    def state(self) -> list[Any]:
        """What ``restored_detector`` reads."""


def bernoulli_residual(reward: float, expected: float) -> float:
    """Reward less expectation, in standard deviations of a success at that rate."""
    variance = expected * (1.0 - expected)
    return (reward - expected) / sqrt(variance if variance > LEAST_VARIANCE else LEAST_VARIANCE)


class ResidualCusum:
    """Sums of how much worse, and how much better, an agent did than its posterior said.

    Attributes:
        worse: Evidence for a fall, in standard deviations.
        better: Evidence for a rise, in standard deviations.
        alarms: Changes found so far.
    """

    __slots__ = ("alarms", "better", "worse")

    def __init__(self, worse: float = 0.0, better: float = 0.0, alarms: int = 0) -> None:
        self.worse = worse
        self.better = better
        self.alarms = alarms

    def update(self, residual: float, threshold: float) -> bool:
        """Take one outcome in; True where the agent is no longer what it was.

        Args:
            residual: Reward less expectation, in standard deviations of the prediction.
            threshold: Sum at which a change is called.
        """
        worse = self.worse - residual - ALLOWANCE
        better = self.better + (residual if residual < MOST_RISE else MOST_RISE) - ALLOWANCE
        self.worse = worse if worse > 0.0 else 0.0
        self.better = better if better > 0.0 else 0.0
        if worse <= threshold and better <= threshold:
            return False
        self.worse = self.better = 0.0
        self.alarms += 1
        return True

    def state(self) -> list[Any]:
        """What ``restored`` reads."""
        return [self.worse, self.better, self.alarms]

    @classmethod
    def restored(cls, state: list[Any]) -> ResidualCusum:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a sum is not finite.
        """
        worse, better, alarms = float(state[0]), float(state[1]), int(state[2])
        if not (isfinite(worse) and isfinite(better)):
            raise ValueError("change detection holds numbers that are not finite")
        return cls(worse, better, alarms)


class BernoulliCusum(NamedTuple):
    """Evidence that one agent's successes have become rarer; each outcome makes a new one.

    What it is measured by is the lower of what the model expects of it and of its own record, so that a model that is
    too sure of itself raises no alarm.

    Attributes:
        evidence: That it fell, in nats.
        since: Position in the log from which on it speaks for a fall.
        good: Discounted successes.
        seen: Discounted outcomes.
        alarms: Changes found so far.
    """

    evidence: float = 0.0
    since: int = 0
    good: float = 1.0
    seen: float = 2.0
    alarms: int = 0

    def updated(self, expected: float, success: float, position: int) -> BernoulliCusum:
        """Take one outcome in.

        Args:
            expected: Chance of success that the model gave, in [0, 1].
            success: How well it went, in [0, 1].
            position: The outcome's position in the log.
        """
        chance = min(max(min(expected, self.good / self.seen), LOWEST), HIGHEST)
        fallen = FALL * chance
        ratio = success * log(fallen / chance) + (1.0 - success) * log((1.0 - fallen) / (1.0 - chance))
        evidence = self.evidence + ratio
        since = self.since if self.evidence > 0.0 else position
        if evidence <= 0.0:
            evidence, since = 0.0, position
        return BernoulliCusum(evidence, since, RECORD * self.good + success, RECORD * self.seen + 1.0, self.alarms)

    def restarted(self) -> BernoulliCusum:
        """After an alarm: nothing is known of the agent but how often it changed."""
        return BernoulliCusum(alarms=self.alarms + 1)


MOST = 1_000
"""Residuals after which the window begins anew."""
KEPT = 500
"""Residuals that it then begins with."""


@cache
def river_installed() -> bool:
    """Whether ADWIN can be had; it is not imported to find out."""
    return find_spec("river") is not None


class AdwinDetector:
    """Finds changes in the mean of an agent's residuals.

    Args:
        delta: Chance of a false alarm that is put up with.
        residuals: What the window begins with.
        alarms: Changes found before.
    """

    __slots__ = ("_adwin", "_delta", "_residuals", "alarms")

    def __init__(self, delta: float, residuals: list[float] | None = None, alarms: int = 0) -> None:
        self._delta, self.alarms = delta, alarms
        self._begin(residuals or [])

    def _begin(self, residuals: list[float]) -> bool:
        """Begin a window with these; True if a change is among them, and then it begins behind the last one.

        ``river`` says of each update by itself whether it found one, and counts from nothing again after each.
        """
        # Imported here, because it takes seconds; by name, because a type checker need not have it installed.
        make: Any = import_module("river.drift").ADWIN
        self._adwin = make(delta=self._delta, clock=1)
        begun = 0
        for place, residual in enumerate(residuals, 1):
            self._adwin.update(_scaled(residual))
            if self._adwin.drift_detected:
                self._adwin, begun = make(delta=self._delta, clock=1), place
                self.alarms += 1
        self._residuals = residuals[begun:]
        return begun > 0

    def update(self, residual: float, threshold: float) -> bool:
        """Take one outcome in; True where the agent is no longer what it was. The threshold is CUSUM's."""
        self._residuals.append(residual)
        self._adwin.update(_scaled(residual))
        if self._adwin.drift_detected:
            self.alarms += 1
            self._begin([])
            return True
        return len(self._residuals) >= MOST and self._begin(self._residuals[-KEPT:])

    def state(self) -> list[object]:
        """What ``restored`` reads."""
        return [self._residuals, self.alarms]

    @classmethod
    def restored(cls, delta: float, state: list[object]) -> AdwinDetector:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a residual is not finite.
        """
        residuals, alarms = state
        if not isinstance(residuals, list) or not isinstance(alarms, int):
            raise ValueError("ADWIN's state must be residuals and a count")
        numbers = [float(residual) for residual in residuals]
        if not all(isfinite(number) for number in numbers):
            raise ValueError("residuals must be finite")
        return cls(delta, numbers, alarms)


def _scaled(residual: float) -> float:
    """A residual in standard deviations to where ADWIN expects most of its values, [0, 1]."""
    return 0.5 + residual / 2.0


def new_detector(kind: DetectorKind, delta: float) -> Detector:
    """A detector of residuals that has seen nothing; CUSUM where ``river`` is not installed.

    Args:
        kind: Which.
        delta: Chance of a false alarm that ADWIN puts up with.
    """
    return AdwinDetector(delta) if kind == "adwin" and river_installed() else ResidualCusum()


def restored_detector(kind: DetectorKind, delta: float, state: list[Any]) -> Detector:
    """Read back what a detector's ``state`` gave; one of another kind starts afresh.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if the state is no such list.
    """
    if kind == "adwin":
        kept = len(state) == 2 and river_installed()
        return AdwinDetector.restored(delta, state) if kept else new_detector(kind, delta)
    return ResidualCusum() if len(state) == 2 else ResidualCusum.restored(state)
