"""Probabilities of the shared draw, in closed form.

All agents share one draw ``z = |N(0, 1)|``, and the agent with the highest ``mean + z * width`` is chosen. Each
agent is a line over ``z``, so it is chosen where its line is the upper envelope; the chance of that stretch is a
difference of error functions, with no sampling and no quadrature. Optimistic draws with common noise are studied by
Chapelle and Li (2011) and Vaswani et al. (2020, "Old Dog Learns New Tricks: Randomized UCB for Bandit Problems").
"""

from __future__ import annotations

from math import erf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_HALF = sqrt(0.5)
CERTAIN = 9.0
"""Beyond it the draw never comes, to the last bit of a float."""


def shared_draw(means: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Chance that each line ``mean + z * width`` is the highest, for ``z`` half-normal.

    Walks along the envelope from ``z = 0``; lines that coincide share their stretch equally.

    Args:
        means: Heights at ``z = 0``, of length ``k`` at least 1.
        widths: Slopes, at least 0.

    Returns:
        ``k`` probabilities that sum to 1.
    """
    mean = max(means)
    width = max([s for m, s in zip(means, widths, strict=True) if m == mean])
    chances = [0.0] * len(means)
    # What starts lower and rises no faster is never the highest; few are left of many.
    lines = [(m, s, i) for i, (m, s) in enumerate(zip(means, widths, strict=True)) if s > width or m == mean]
    reached = 0.0
    while True:
        crossing, following = CERTAIN, None
        for line in lines:
            rise = line[1] - width
            if rise > 0.0:
                z = (mean - line[0]) / rise
                if z < crossing or (z == crossing and following is not None and line[1] > following[1]):
                    crossing, following = z, line
        upto = 1.0 if following is None else erf(crossing * ROOT_HALF)
        if upto > reached:
            holders = [i for m, s, i in lines if m == mean and s == width]
            share = (upto - reached) / len(holders)
            for i in holders:
                chances[i] = share
            reached = upto
        if following is None:
            return chances
        mean, width, _ = following
