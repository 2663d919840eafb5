"""Whether a confidence of .8 is right eight times in ten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router_sdk.errors import InvalidInputError

DEFAULT_BINS = 15


class ReliabilityBin(NamedTuple):
    """Answers of about the same confidence.

    Attributes:
        answers: How many.
        confidence: Their mean confidence, in [0, 1].
        accuracy: Share of them that were right, or their mean reward.
    """

    answers: int
    confidence: float
    accuracy: float


def reliability(
    confidences: Sequence[float], correct: Sequence[float], *, bins: int = DEFAULT_BINS, adaptive: bool = False
) -> tuple[ReliabilityBin, ...]:
    """Bin answers by confidence, lowest first; empty bins are left out.

    Args:
        confidences: In [0, 1], shape ``(n,)``.
        correct: 1 or 0, or a reward in between, shape ``(n,)``.
        bins: How many.
        adaptive: Bins of equal count instead of equal width (Nixon et al., "Measuring Calibration in Deep Learning",
            CVPR Workshops 2019): where most confidences are high, equal widths put them all in one bin.

    Raises:
        InvalidInputError: if lengths differ, there is no bin, or a value is outside [0, 1].
    """
    said, was = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if said.shape != was.shape or said.ndim != 1 or bins < 1:
        raise InvalidInputError("calibration: give as many confidences as outcomes, and at least one bin")
    if not all(np.all((values >= 0.0) & (values <= 1.0)) for values in (said, was)):
        raise InvalidInputError("calibration: confidences and outcomes must lie in [0, 1]")
    if adaptive:
        order = np.argsort(said, kind="stable")
        parts = np.array_split(order, bins)
    else:
        place = np.clip(np.ceil(said * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(place == number) for number in range(bins)]
    return tuple(
        ReliabilityBin(len(part), float(said[part].mean()), float(was[part].mean())) for part in parts if len(part)
    )


def expected_calibration_error(
    confidences: Sequence[float], correct: Sequence[float], *, bins: int = DEFAULT_BINS, adaptive: bool = False
) -> float | None:
    """Mean distance between confidence and accuracy over the bins, each weighted by its answers; None without answers.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Arguments and errors are those of
    ``reliability``.
    """
    found = reliability(confidences, correct, bins=bins, adaptive=adaptive)
    if not found:
        return None
    return sum(part.answers * abs(part.confidence - part.accuracy) for part in found) / len(confidences)
