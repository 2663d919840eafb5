"""ADWIN (Bifet and Gavaldà, 2007) from ``river``, whose state is the residuals it was given.

What ``river`` holds can only be pickled. So the residuals since its window last began are kept beside it, and a fresh
ADWIN that is given the same ones is the same; the window is begun anew before it grows long. A shorter window may find
a change that the longer one did not, because what came first was more scattered: that is an alarm like any other.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from typing import Any

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
