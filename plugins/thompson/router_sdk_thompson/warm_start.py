"""The prior over text that the agents' own examples make: each is a success of its agent and of no other."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_thompson.diagonal import Diagonal
from router_sdk_thompson.text_features import text_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet

MOST_EXAMPLES = 4_000
"""Examples that are used in all, evenly over the agents."""
MOST_RIVALS = 31
"""Other agents that learn from an example that it is not theirs; where there are more, they are drawn."""
NOISE = 0.25


def example_prior(agents: AgentSet, variance: float, seed: int) -> Diagonal | None:
    """Weights learnt from the agents' examples, or None where no two agents have any.

    Args:
        agents: Whose examples; their order does not matter.
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
    rows = np.array([prior.row(name) for name in names])
    rng = np.random.default_rng(seed)
    for turn in rng.permutation(len(lessons)):
        own, text = lessons[turn]
        ids = text_ids(text).astype(np.intp)
        if not len(ids):
            continue
        others = np.delete(rows, own)
        if len(others) > MOST_RIVALS:
            others = rng.choice(others, MOST_RIVALS, replace=False)
        _teach(prior, np.concatenate(([rows[own]], others)), ids)
    return prior


def _teach(prior: Diagonal, rows: NDArray[np.intp], ids: NDArray[np.intp]) -> None:
    """One example: a success of the first row's agent, and of none of the others."""
    index, size = rows[:, None], len(ids)
    held = prior.precision[index, ids]
    width = 1.0 / (prior.base + held)
    mean = prior.mean[index, ids]
    errors = -mean.sum(axis=1) / sqrt(size)
    errors[0] += 1.0
    gain = errors / (sqrt(size) * (width.sum(axis=1) / size + NOISE))
    prior.mean[index, ids] = mean + width * gain[:, None]
    prior.precision[index, ids] = held + 1.0 / (size * NOISE)
