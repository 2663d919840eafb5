"""One agent's evidence over all task types: totals, change detection, and how volatile it has proved to be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from router_sdk_thompson.drift.detectors import Detector, restored_detector
from router_sdk_thompson.drift.fading import KEPT, fading

if TYPE_CHECKING:
    from router_sdk_thompson.config import ThompsonConfig


class AgentEvidence:
    """Totals of one agent, scaled like the cells they sum.

    Args:
        detector: Watches for change.

    Attributes:
        mass: Observations.
        reward: Reward that came of them.
        detector: Watches for change.
        changed_event: Number of the outcome at which it last changed; -1 if it never did.
        changed_at: When that was, in seconds since the epoch.
        kept: Past changes: when, and which share of the earlier evidence was kept.
    """

    __slots__ = ("changed_at", "changed_event", "detector", "kept", "mass", "reward")

    def __init__(self, detector: Detector) -> None:
        self.mass = 0.0
        self.reward = 0.0
        self.detector = detector
        self.changed_event = -1
        self.changed_at = 0.0
        self.kept: list[tuple[float, float]] = []

    def scale(self, event: int) -> float:
        """Share of what is stored that still counts at an outcome."""
        return 1.0 if self.changed_event < 0 else 2.0 ** -fading(event - self.changed_event)

    def weight(self, event: int, at: float, first_at: float) -> float:
        """Weight, in stored units, of evidence that first arrived at ``first_at``; for it is revised at ``at``.

        Which outcome it was by number is not known for a correction, so it is placed in proportion to time.
        """
        if self.changed_event < 0:
            return 1.0
        if first_at < self.changed_at:
            return math.prod(share for when, share in self.kept if when > first_at)
        passed = at - self.changed_at
        place = 1.0 if passed <= 0.0 else min((first_at - self.changed_at) / passed, 1.0)
        return float(2.0 ** fading(place * (event - self.changed_event)))

    def change(self, event: int, at: float, unit: float) -> float:
        """Note a change; returns the factor by which everything stored for the agent must be multiplied.

        Args:
            event: Number of this outcome.
            at: Its time.
            unit: What one observation made now weighs in stored units.
        """
        now = self.scale(event)
        share = min(1.0, KEPT * unit / max(self.mass * now, 1e-300))
        self.changed_event, self.changed_at = event, at
        self.kept.append((at, now * share))
        return now * share

    def state(self) -> dict[str, Any]:
        """What ``restored`` reads."""
        return {
            "totals": [self.mass, self.reward],
            "detector": self.detector.state(),
            "changed": [self.changed_event, self.changed_at],
            "kept": self.kept,
        }

    @classmethod
    def restored(cls, state: dict[str, Any], config: ThompsonConfig) -> AgentEvidence:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a number is out of range.
        """
        evidence = cls(restored_detector(config, state["detector"]))
        evidence.mass, evidence.reward = checked_pair(state["totals"])
        evidence.changed_event, evidence.changed_at = int(state["changed"][0]), float(state["changed"][1])
        evidence.kept = [(float(when), float(share)) for when, share in state["kept"]]
        if not all(math.isfinite(number) for number in [evidence.changed_at, *sum(evidence.kept, ())]):
            raise ValueError("past changes hold numbers that are not finite")
        return evidence


def checked_pair(pair: list[float]) -> list[float]:
    """Observations and reward, if they can be a Beta's counts.

    Raises:
        ValueError: if a count is negative or not finite.
    """
    mass, reward = float(pair[0]), float(pair[1])
    slack = 1e-9 * (1.0 + abs(mass))
    if not (math.isfinite(mass) and -slack <= reward <= mass + slack):
        raise ValueError(f"alpha and beta must be finite and at least 0, got reward {reward} of {mass}")
    return [mass, reward]
