"""The prior over text that the agents' own examples make: each is a success of its agent and of no other."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_thompson.diagonal import Diagonal
from router_sdk_thompson.text_features import text_ids

if TYPE_CHECKING:
    from router_sdk.plugin import AgentSet

MOST_EXAMPLES = 4_000
"""Examples that are used in all, evenly over the agents."""
NOISE = 0.25


def example_prior(agents: AgentSet, variance: float, seed: int) -> Diagonal | None:
    """Weights learnt from the agents' examples, or None where no two agents have any.

    Args:
        agents: Whose examples.
        variance: Prior variance of each weight.
        seed: Seed of the order in which they are read.
    """
    told = {agent.name: agent.examples for agent in agents if agent.examples}
    if len(told) < 2:
        return None
    names = sorted(told)
    each = max(1, MOST_EXAMPLES // len(names))
    lessons = [(place, text) for place, name in enumerate(names) for text in told[name][:each]]
    prior = Diagonal(variance)
    index = np.array([prior.row(name) for name in names])[:, None]
    for turn in np.random.default_rng(seed).permutation(len(lessons)):
        place, text = lessons[turn]
        ids = text_ids(text).astype(np.intp)
        size = len(ids)
        if not size:
            continue
        width = 1.0 / (prior.base + prior.precision[index, ids])
        errors = -prior.mean[index, ids].sum(axis=1) / sqrt(size)
        errors[place] += 1.0
        gain = errors / (sqrt(size) * (width.sum(axis=1) / size + NOISE))
        prior.mean[index, ids] += width * gain[:, None]
        prior.precision[index, ids] += 1.0 / (size * NOISE)
    return prior
