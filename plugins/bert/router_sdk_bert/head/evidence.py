"""What a task's neighbours say of each agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from router_sdk_bert.head.names import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts

WIDTHS = np.array([[0.03], [0.15]])
"""Widths, in cosine, within which neighbours count alike: narrow for clean outcomes, wide for noisy ones."""
DOUBT = 0.2
"""What is not known of an agent, as a share of what its neighbours say."""
LEAST = np.finfo(np.float64).tiny


class Votes(NamedTuple):
    """What speaks for and against each agent, by width.

    Attributes:
        good: Shares of the neighbours' weight, shape ``(2, k)``.
        bad: The same.
        mass: That weight, in outcomes at no distance, shape ``(2, 1)``.
    """

    good: NDArray[np.float64]
    bad: NDArray[np.float64]
    mass: NDArray[np.float64]


def count_votes(cosines: NDArray[np.float32], facts: Facts, codes: NDArray[np.intp]) -> Votes:
    """Weigh a task's neighbours by nearness and let each vote.

    Args:
        cosines: Of ``n`` neighbours, shape ``(n,)``.
        facts: What is known of them.
        codes: Of the ``k`` agents in question. Of a code of -1 nothing is known at all.
    """
    right = facts.right[:, None] == codes
    good = right * facts.credit[:, None]
    bad = (right < (codes >= NOBODY)) * (facts.credit * facts.rivalry)[:, None]
    if facts.blame.any():
        bad += (facts.wrong[:, None] == codes) * facts.blame[:, None]
    near = np.exp((cosines - 1.0) / WIDTHS) * facts.weight
    mass = near.sum(axis=1, keepdims=True)
    share = near / np.maximum(mass, LEAST)
    return Votes(share @ good, share @ bad, mass)


def evidence(votes: Votes, labels: Literal["exclusive", "independent"]) -> NDArray[np.float64]:
    """Log shares (exclusive) or log odds (independent) of the agents, by width, shape ``(2, k)``.

    An agent that the neighbours do not mention stands at the prior: one in as many as there are, or even odds.
    """
    good, bad, _ = votes
    if labels == "independent":
        odds = (good + DOUBT / 2.0) / (bad + DOUBT / 2.0)
    else:
        odds = (good + DOUBT / max(good.shape[1], 1)) / (good + bad + DOUBT)
    return np.log(odds, out=odds)
