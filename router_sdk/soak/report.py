"""What a soak came to: figures, what happened when, and a verdict; kept as a file, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from router_sdk.errors import InvalidInputError

GOAL = 0.01
"""Improvement against the frozen router that makes a success, as a share of what that earns."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        hour: When, in simulated hours since the start.
        what: In a few words.
    """

    hour: float
    what: str


@dataclass(frozen=True, slots=True)
class SoakReport:
    """One soak.

    Attributes:
        hours: Simulated hours.
        seed: Of the day.
        strategies: The chain.
        messages: How many were routed.
        reward: Mean reward of the router that goes on learning, in [0, 1].
        frozen: That of the same router as it was at the start, on the same messages.
        by_phase: Both, in each of the worlds of the day, by its name.
        fits: Fits that ended, in whichever way.
        promoted: Versions that came to serve by themselves.
        refused: Candidates that the gate refused.
        planted: Bad candidates that were planted.
        stopped: Those of them that were refused, or rolled back.
        regressions: Versions that chose worse than the one before, and were after 200 messages neither rolled back nor
            replaced nor by then, having learnt, as good as the frozen router; planted ones among them.
        rollbacks: Rollbacks that nobody asked for.
        restarts: How often the router was closed and opened again.
        violations: Promises that were broken, in words.
        duration_s: How long it took, in seconds.
        events: What happened, in order.
    """

    hours: float
    seed: int
    strategies: Sequence[str]
    messages: int
    reward: float
    frozen: float
    by_phase: Mapping[str, tuple[float, float]]
    fits: int
    promoted: int
    refused: int
    planted: int
    stopped: int
    regressions: int
    rollbacks: int
    restarts: int
    violations: Sequence[str]
    duration_s: float
    events: Sequence[Event] = field(default_factory=tuple)

    @property
    def improvement(self) -> float:
        """How much more it earned than the frozen router, as a share of what that earned."""
        return (self.reward - self.frozen) / self.frozen if self.frozen else 0.0

    @property
    def success(self) -> bool:
        """Whether it improved enough, nothing bad got through, and no promise was broken."""
        return self.improvement >= GOAL and not self.regressions and not self.violations

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"success": self.success, "improvement": self.improvement, **asdict(self)}

    def write(self, path: Path) -> None:
        """Keep it."""
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` kept.

        Raises:
            InvalidInputError: if there is none, or it is something else.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            del told["success"], told["improvement"]
            phases = {name: (float(own), float(other)) for name, (own, other) in told.pop("by_phase").items()}
            lists = {name: tuple(told[name]) for name in ("strategies", "violations")}
            events = tuple(Event(**event) for event in told["events"])
            return cls(**told | lists | {"by_phase": phases, "events": events})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{path}: no report of a soak can be read ({type(error).__name__}); run router soak first, or name its "
                "file with --report"
            ) from error
