"""From scores to probabilities, by the way of exploring that was configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.numerics.shared_draw import shared_draw
from router_sdk_thompson.joint_draws import normal_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk_thompson.config import Sampling


def chances(
    sampling: Sampling, names: Sequence[str], means: Sequence[float], widths: Sequence[float], seed: str
) -> list[float]:
    """Probability of each agent.

    Args:
        sampling: How doubt explores.
        names: The agents' names, distinct.
        means: Expected reward of each.
        widths: Standard deviation of each expectation, at least 0.
        seed: Names the state and the request, for joint draws.

    Returns:
        Probabilities in the order of ``names``, which do not depend on that order.
    """
    if sampling == "shared":
        return shared_draw(means, widths)
    if sampling == "independent":
        order = sorted(range(len(names)), key=names.__getitem__)
        drawn = normal_draws([means[i] for i in order], [widths[i] for i in order], seed)
        found = [0.0] * len(names)
        for place, chance in zip(order, drawn, strict=True):
            found[place] = chance
        return found
    bonus = 1.0 if sampling == "ucb" else 0.0
    heights = [mean + bonus * width for mean, width in zip(means, widths, strict=True)]
    best = max(heights)
    ties = heights.count(best)
    return [float(height == best) / ties for height in heights]
