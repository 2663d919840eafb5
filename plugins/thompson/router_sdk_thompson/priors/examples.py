"""The prior over text that the agents' own examples make: each is a success of its agent and of no other."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_thompson.features.hashed_text import FEATURES, text_ids
from router_sdk_thompson.features.memory_budget import halvings
from router_sdk_thompson.posteriors.diagonal_gaussian import DiagonalGaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet

MOST_EXAMPLES = 4_000
"""Examples that are used in all, evenly over the agents."""
MOST_RIVALS = 31
"""Other agents that learn from an example that it is not theirs; where there are more, they are drawn."""
PASSES = 6
"""Times that the examples are gone through; fewer where there are so many that it would take long."""
LESSONS = 6_000
COMMON = 0.1
"""How little a feature that many examples share may move: the noise that its precision is counted with."""
CLOSENESS = 0.15
"""Noise of each step: less fits the examples more closely."""
NOISE = 0.25
"""Noise at which an example counts as evidence later on: what outcomes will have to outweigh."""


def example_prior(agents: AgentSet, variance: float, seed: int) -> DiagonalGaussian | None:
    """Weights learnt from the agents' examples, in units of the rewards' spread, or None where no two agents have any.

    A feature moves the less the more examples share it, which weighs rare words up as an inverse document frequency
    would.

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
    prior = DiagonalGaussian(variance, halvings(len(names), FEATURES))
    lessons = [
        (place, prior.at(text_ids(text).astype(np.intp)))
        for place, name in enumerate(names)
        for text in told[name][:each]
    ]
    lessons = [(place, ids) for place, ids in lessons if len(ids)]
    shared = np.zeros(FEATURES >> prior.halved)
    for _, ids in lessons:
        shared[ids] += 1.0 / len(ids)
    freedom = (1.0 / (prior.base + shared / COMMON)).astype(np.float32)
    rows = np.array([prior.row(name) for name in names])
    rng = np.random.default_rng(seed)
    for turn in range(max(1, min(PASSES, LESSONS // max(len(lessons), 1)))):
        for lesson in rng.permutation(len(lessons)):
            own, ids = lessons[lesson]
            others = np.delete(rows, own)
            if len(others) > MOST_RIVALS:
                others = rng.choice(others, MOST_RIVALS, replace=False)
            taught = np.concatenate(([rows[own]], others))
            _teach(prior, taught, ids, freedom[ids])
            if turn == 0:
                prior.precision[taught[:, None], ids] += np.float32(1.0 / (len(ids) * NOISE))
    return prior


def _teach(
    prior: DiagonalGaussian, rows: NDArray[np.intp], ids: NDArray[np.intp], freedom: NDArray[np.float32]
) -> None:
    """One example: a success of the first row's agent, and of none of the others."""
    index, root = rows[:, None], sqrt(len(ids))
    mean = prior.mean[index, ids]
    errors = -mean.sum(axis=1) / root
    errors[0] += 1.0
    gain = errors / (root * (float(freedom.sum()) / len(ids) + CLOSENESS))
    prior.mean[index, ids] = mean + freedom * gain[:, None].astype(np.float32)
