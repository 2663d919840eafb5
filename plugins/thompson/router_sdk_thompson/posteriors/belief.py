"""What one posterior says of some agents at one task: rewards, or the logits of them, and how far doubt reaches."""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Belief(NamedTuple):
    """What one posterior says of some agents at one task, in their order.

    Attributes:
        mode: Which posterior.
        means: Expected rewards, or logits of them.
        widths: How far doubt reaches, in the same units.
        counts: Asked for the observations behind each, when somebody wants to know.
        seed: Names the state and the task, for joint draws.
        logits: Whether means and widths are logits.
        contenders: Positions of those who can be the best; None where all can.
    """

    mode: str
    means: list[float]
    widths: list[float]
    counts: Callable[[Sequence[str]], list[float]]
    seed: str
    logits: bool = False
    contenders: list[int] | None = None

    def rewards(self) -> tuple[list[float], list[float]]:
        """Expected rewards and how far doubt about them reaches."""
        if not self.logits:
            return self.means, self.widths
        pairs = list(zip(self.means, self.widths, strict=True))
        steep = [sigmoid(mean) * (1.0 - sigmoid(mean)) for mean, _ in pairs]
        widths = [min(slope * width, 0.5) for slope, (_, width) in zip(steep, pairs, strict=True)]
        return [moderated(mean, width * width) for mean, width in pairs], widths

    def intervals(self) -> list[tuple[float, float]]:
        """Where each reward lies with about 95 %."""
        spans = [(m - 1.96 * w, m + 1.96 * w) for m, w in zip(self.means, self.widths, strict=True)]
        return [(sigmoid(low), sigmoid(high)) for low, high in spans] if self.logits else spans


def sigmoid(logit: float) -> float:
    """Probability of a logit."""
    if logit >= 0.0:
        return 1.0 / (1.0 + exp(-min(logit, 700.0)))
    grown = exp(max(logit, -700.0))
    return grown / (1.0 + grown)


def moderated(logit: float, variance: float) -> float:
    """Expected probability of a normal logit (MacKay, 1992)."""
    return sigmoid(logit / sqrt(1.0 + 0.39269908 * variance))
