"""Probabilities of the shared draw, in closed form.

All agents share one draw ``z = |N(0, 1)|``, and the agent with the highest ``mean + z * width`` is chosen. Each
agent is a line over ``z``, so it is chosen where its line is the upper envelope; the chance of that stretch is a
difference of error functions, with no sampling and no quadrature. Optimistic draws with common noise are studied by
Chapelle and Li (2011) and Vaswani et al. (2020, "Old Dog Learns New Tricks: Randomized UCB for Bandit Problems").
"""

from __future__ import annotations

from math import erf, inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Line = tuple[float, float, int]
"""Slope, height at 0, and position."""
ROOT_HALF = sqrt(0.5)
CERTAIN = 9.0
"""Beyond it the draw never comes, to the last bit of a float."""
FEW = 32
"""Lines up to which it costs less to walk past those that are never the highest than to leave them out first."""


def shared_draw(means: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Chance that each line ``mean + z * width`` is the highest, for ``z`` half-normal.

    Walks along the upper envelope from ``z = 0``; lines that coincide share their stretch equally. Lines that differ
    by rounding alone do not coincide: whose numbers come from long sums rounds them first.

    Args:
        means: Heights at ``z = 0``, of length ``k`` at least 1.
        widths: Slopes, at least 0.

    Returns:
        ``k`` probabilities that sum to 1.
    """
    chances = [0.0] * len(means)
    mean = max(means)
    holders = [means.index(mean)]
    if means.count(mean) > 1:
        tied = [i for i, m in enumerate(means) if m == mean]
        steepest = max([widths[i] for i in tied])
        holders = [i for i in tied if widths[i] == steepest]
    width = widths[holders[0]]
    # What starts lower and rises no faster is never the highest; few are left of many.
    lines = [(s, means[i], i) for i, s in enumerate(widths) if s > width]
    if len(lines) > FEW:
        lines = _of_the_envelope(lines, width, mean)
    reached = 0.0
    while lines:
        crossing, following = CERTAIN, None
        for line in lines:
            z = (mean - line[1]) / (line[0] - width)
            if z < crossing or (z == crossing and following is not None and line[0] > following[0]):
                crossing, following = z, line
        if following is None:
            break
        upto = erf(crossing * ROOT_HALF)
        if upto > reached:
            share = (upto - reached) / len(holders)
            for i in holders:
                chances[i] = share
            reached = upto
        width, mean, _ = following
        holders = [i for s, m, i in lines if s == width and m == mean]
        lines = [line for line in lines if line[0] > width]
    for i in holders:
        chances[i] = (1.0 - reached) / len(holders)
    return chances


def _of_the_envelope(
    lines: list[tuple[float, float, int]], width: float, mean: float
) -> list[tuple[float, float, int]]:
    """Those lines that are somewhere the highest, by the convex hull trick: O(k log k) where a walk is O(k²).

    Args:
        lines: All, steeper than the first.
        width: Slope of the line that is the highest at 0.
        mean: Its height there.
    """
    highest: dict[float, float] = {}
    for slope, height, _ in lines:
        if height > highest.get(slope, -inf):
            highest[slope] = height
    hull = [(0.0, width, mean)]
    for slope in sorted(highest):
        height = highest[slope]
        while True:
            begins, before, above = hull[-1]
            crossing = (above - height) / (slope - before)
            if crossing > begins or len(hull) == 1:
                break
            hull.pop()
        if crossing < CERTAIN:
            hull.append((crossing, slope, height))
    kept = {(slope, height) for _, slope, height in hull}
    return [line for line in lines if line[:2] in kept]
