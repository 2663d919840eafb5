"""How doubt becomes a distribution: one draw that all agents share, in closed form.

An agent's log odds are taken to be its estimate plus ``|z|`` times its doubt, with one standard normal ``z`` for all:
so an agent is chosen as often as ``z`` falls where its line is the highest. Agents that are known equally well differ
by their estimates alone, and then nothing is explored.
"""

from __future__ import annotations

from math import erf, inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIKE = 1e-12
"""Difference below which two agents share what one would get."""


def shares(estimate: NDArray[np.float64], doubt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that each agent is the best, shape ``(k,)``, summing to 1.

    Args:
        estimate: Log odds, shape ``(k,)``.
        doubt: Standard deviations, shape ``(k,)``, at least 0.
    """
    given = np.zeros(len(estimate))
    reached, z = 0.0, 0.0
    best = _steepest(estimate, doubt, np.flatnonzero(estimate >= estimate.max() - ALIKE))
    while True:
        now = best[0]
        steeper = np.flatnonzero(doubt > doubt[now] + ALIKE)
        if not len(steeper):
            break
        cross = np.maximum((estimate[now] - estimate[steeper]) / (doubt[steeper] - doubt[now]), z)
        z = float(cross.min())
        mass = erf(z / sqrt(2.0)) if z < inf else 1.0
        given[best] += (mass - reached) / len(best)
        reached = mass
        best = _steepest(estimate, doubt, steeper[cross <= z + ALIKE])
    given[best] += (1.0 - reached) / len(best)
    given /= given.sum()
    return given


def _steepest(estimate: NDArray[np.float64], doubt: NDArray[np.float64], among: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of the agents that are level, those with the most doubt, and of these the ones with the best estimate."""
    if len(among) == 1:
        return among
    found = among[doubt[among] >= doubt[among].max() - ALIKE]
    level: NDArray[np.intp] = found[estimate[found] >= estimate[found].max() - ALIKE]
    return level
