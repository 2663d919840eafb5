"""Agents by elimination, text by text: where exactly one is right, a success nearby names it, a failure excludes one.

A text like one at which an agent succeeded is that agent's. At any other, those are left whom no failure nearby speaks
against, and of these whoever succeeded least elsewhere is tried first: its tasks are still to be found. So many agents
are told apart with few tries each, and an agent with hardly any traffic is found where its texts are like nobody's.
Only the nearest success of each agent counts: where one agent has most of the traffic, a sum over its many distant
successes would outweigh the few that others have. Nearest neighbours for bandits: Reeve, Mellor and Brown, "The
k-Nearest Neighbour UCB Algorithm for Multi-Armed Bandits with Covariates", 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_sdk_bert.head.neighbours import Neighbours

ALIKE, APART = 0.1, 0.15
"""Widths, in cosine, within which a success and a failure tell of a text."""
UNTRIED = 0.02
"""What speaks for an agent that nothing is known of, in successes at no distance: as much as one at a cosine of .6."""
FOUND = 0.2
"""How much less speaks for an agent elsewhere with each success that it had."""
EXCLUDES = 5.0
"""What a failure at no distance says, in nats."""


class Left(NamedTuple):
    """What speaks for each of ``k`` agents at one text.

    Attributes:
        weights: Log weights that order the agents, shape ``(k,)``.
        favourite: Place of the first of the highest.
        named: Whether a success nearby speaks for it; else it is but tried.
    """

    weights: NDArray[np.float64]
    favourite: int
    named: bool

    @property
    def chances(self) -> NDArray[np.float64]:
        """Chance of each agent to be the right one, shape ``(k,)``."""
        shares: NDArray[np.float64] = np.exp(self.weights - self.weights[self.favourite])
        shares /= shares.sum()
        return shares


def by_elimination(found: Neighbours, codes: NDArray[np.int32], succeeded: Sequence[float]) -> Left:
    """What speaks for each agent at one text.

    Args:
        found: The stored rows nearest to it.
        codes: Of the ``k`` agents in question; -1 for one that is not known.
        succeeded: Successes of each, anywhere.
    """
    facts, distance = found.facts, found.cosines - 1.0
    success = facts.credit * facts.weight * np.exp(distance / ALIKE)
    failure = facts.blame * facts.weight * np.exp(distance / APART)
    named = np.max((facts.right[:, None] == codes) * success[:, None], axis=0)
    excluded = failure @ (facts.wrong[:, None] == codes)
    elsewhere = UNTRIED / (1.0 + FOUND * np.asarray(succeeded))
    weights = np.log(elsewhere + named) - EXCLUDES * excluded
    favourite = int(weights.argmax())
    return Left(weights, favourite, bool(named[favourite] > elsewhere[favourite]))
