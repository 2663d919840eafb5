"""What the background fits did while the stream went on: accuracy on old and new sessions, and the cost in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.demo.report import Adaptation, FitMark, Latency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk.demo.stream import Probe
    from router_sdk.router import Router
    from router_sdk.training.fit import Fit

LOOKS = 6
"""How often each phase is interrupted to ask about the probes."""


@dataclass(slots=True)
class Watch:
    """Asks the router about tasks that it never learns from, and notes what fits do.

    Args:
        router: Whom to ask; nothing is logged, learnt or explored.
        probes: Tasks with their right agents, by the kind of session they come from.
    """

    router: Router
    probes: Mapping[str, Sequence[Probe]]
    accuracy: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    confidence: list[tuple[int, float]] = field(default_factory=list)
    fits: list[FitMark] = field(default_factory=list)
    _seen: Fit | None = None

    def look(self, now: int) -> None:
        """Note the accuracy after ``now`` tasks."""
        sure = []
        for name, probes in self.probes.items():
            found = self.router.evaluate([task for task, _ in probes], [label for _, label in probes])
            self.accuracy.setdefault(name, []).append((now, found.accuracy))
            if found.mean_confidence is not None:
                sure.append(found.mean_confidence)
        if sure:
            self.confidence.append((now, float(np.mean(sure))))

    def note_fit(self, now: int, fit: Fit | None) -> None:
        """Note how a fit ended, once."""
        if fit is None or fit.running or fit is self._seen:
            return
        self._seen = fit
        version = fit.version
        seconds = 0.0 if version is None else float(version.metrics.get("duration_s", 0.0))
        number = None if version is None else version.version
        self.fits.append(FitMark(now, fit.reason, fit.state, number, seconds, fit.words))

    def report(self, route_ns: Sequence[int], fitting: Sequence[bool]) -> Adaptation:
        """Sum up."""
        times, busy = np.array(route_ns) / 1e3, np.array(fitting, dtype=bool)
        return Adaptation(
            accuracy={name: tuple(points) for name, points in self.accuracy.items()},
            confidence=tuple(self.confidence),
            fits=tuple(self.fits),
            idle=_latency(times[~busy]),
            during_fits=_latency(times[busy]),
        )


def _latency(times: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Latency | None:
    if not len(times):
        return None
    p50, p99 = np.percentile(times, [50.0, 99.0])
    return Latency(len(times), float(p50), float(p99), float(times.max()))
