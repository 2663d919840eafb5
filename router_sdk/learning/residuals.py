"""One agent's record: whether it does what was foretold of it, where that tends, and how often it failed lately.

A residual is the reward less what the strategy gave for it when it chose its favourite; of what was explored or
observed nothing was foretold, and it is the reward itself. Each kind is measured in its own running mean and spread, so
that a strategy that is too sure of itself changes nothing; what changes is told by cumulative sums (Page, 1954), or by
ADWIN (Bifet and Gavaldà, 2007), see ``numerics.change_detection``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any, Self

from router_sdk.numerics.change_detection import LEAST_VARIANCE, Detector, new_detector, restored_detector
from router_sdk.numerics.distribution_shift import trend

if TYPE_CHECKING:
    from router_sdk.loop_settings import DriftConfig

LEARNT = 50
"""Outcomes that it takes to know a mean and a spread."""
MEMORY = 300
"""Outcomes that the running mean and spread are made of at most."""
SETTLED = 100
"""Outcomes after a change that are as the new record says, until it is the agent's usual one."""
SMOOTHING = 0.1
"""Weight of the newest outcome in how far off an agent is lately."""
PIECE = 25
"""Residuals in one point of the trend."""
POINTS = 8
"""Points that a trend is made of."""
NEWEST = 100
"""Outcomes that the failure rate is made of."""


class AgentRecord:
    """What is kept of an agent.

    Args:
        detector: Watches its residuals.

    Attributes:
        since: The log's time at which it was last found to have changed; None if it never was.
        direction: ``"worse"`` or ``"better"``, or None.
        quiet: Outcomes since then.
        off: How much more than its own mean residual came lately, in reward; as of the change, where one was called.
        passed: Whether the newest outcomes succeeded, 1 or 0, oldest first.
        pieces: The same of the newest pieces, each on its own, oldest first.
    """

    __slots__ = (
        *("_foretold", "_piece", "_unforetold", "detector", "direction"),
        *("off", "passed", "pieces", "quiet", "since"),
    )

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.since: float | None = None
        self.direction: str | None = None
        self.quiet = 0
        self.off = 0.0
        self.passed: deque[int] = deque(maxlen=NEWEST)
        self.pieces: deque[float] = deque(maxlen=POINTS)
        self._piece = [0.0, 0.0]
        self._foretold, self._unforetold = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        """Count, mean and mean square of the residuals of each kind."""

    def update(self, residual: float, at: float, threshold: float, *, foretold: bool) -> None:
        """Take one outcome in.

        Args:
            residual: Reward, less what was foretold of it where something was.
            at: The log's time.
            threshold: Evidence at which a change is called, in standard deviations.
            foretold: Whether something was.
        """
        kind = self._foretold if foretold else self._unforetold
        count, mean, square = kind
        if count >= LEARNT:
            variance, deviation = square - mean * mean, residual - mean
            surprise = deviation / sqrt(variance if variance > LEAST_VARIANCE else LEAST_VARIANCE)
            self.quiet += 1
            self.off += SMOOTHING * (deviation - self.off)
            piece = self._piece
            piece[0] += 1.0
            piece[1] += deviation
            if piece[0] == PIECE:
                self.pieces.append(piece[1] / PIECE)
                self._piece = [0.0, 0.0]
            if self.detector.update(surprise, threshold):
                self.since, self.direction, self.quiet = at, "worse" if surprise < 0.0 else "better", 0
                self._foretold, self._unforetold = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
                kind, count, mean, square = self._foretold if foretold else self._unforetold, 0.0, 0.0, 0.0
        if count < MEMORY:
            count += 1.0
        kind[0] = count
        kind[1] = mean + (residual - mean) / count
        kind[2] = square + (residual * residual - square) / count

    @property
    def changed(self) -> bool:
        """Whether it is not long ago that it changed."""
        return self.since is not None and self.quiet < SETTLED

    @property
    def failures(self) -> float | None:
        """Share of failures among the newest outcomes that say so; None where none does."""
        passed = list(self.passed)
        return 1.0 - sum(passed) / len(passed) if passed else None

    def report(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "changed": self.changed,
            "direction": self.direction,
            "since": self.since,
            "changes": self.detector.alarms,
            "residual": self.off,
            "trend": trend(list(self.pieces)),
            "failures": self.failures,
            "outcomes": len(self.passed),
        }

    def state(self) -> dict[str, Any]:
        """What ``restored`` reads."""
        return {
            "detector": self.detector.state(),
            "changed": [self.since, self.direction, self.quiet, self.off],
            "passed": list(self.passed),
            "pieces": list(self.pieces),
            "piece": self._piece,
            "records": [self._foretold, self._unforetold],
        }

    @classmethod
    def new(cls, config: DriftConfig) -> Self:
        """Of an agent of whom nothing is known."""
        return cls(new_detector(config.detector, config.adwin_delta))

    @classmethod
    def restored(cls, state: Mapping[str, Any], config: DriftConfig) -> Self:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a number is not finite, or a list is not of its length.
        """
        record = cls(restored_detector(config.detector, config.adwin_delta, state["detector"]))
        record.since, record.direction, record.quiet, record.off = state["changed"]
        record.passed.extend(state["passed"])
        record.pieces.extend(state["pieces"])
        record._piece = _finite(state["piece"], 2)
        record._foretold, record._unforetold = (_finite(one, 3) for one in state["records"])
        return record


def _finite(numbers: list[float], length: int) -> list[float]:
    found = [float(number) for number in numbers]
    if len(found) != length or not all(map(isfinite, found)):
        raise ValueError("an agent's record holds numbers that are none")
    return found
