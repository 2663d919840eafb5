"""What a task's neighbours say of each agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from router_sdk_bert.head.names import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.shelf import Facts

TEMPERATURES = np.array([0.03, 0.15], dtype=np.float32)
"""Widths, in cosine, within which neighbours count alike: narrow for clean outcomes, wide for noisy ones."""
DOUBT = 0.2
"""What is not known of an agent, as a share of what its neighbours say."""


class Votes(NamedTuple):
    """Shares of the neighbours' weight for and against each agent; each of shape ``(m, codes)``."""

    good: NDArray[np.float64]
    bad: NDArray[np.float64]


def count_votes(cosines: NDArray[np.float32], facts: Facts, codes: int, temperatures: NDArray[np.float32]) -> Votes:
    """Weigh neighbours by nearness and let each vote.

    Args:
        cosines: Of ``m`` tasks with ``k`` neighbours each, shape ``(m, k)``.
        facts: What is known of those, arrays of shape ``(m, k)`` or ``(1, k)``.
        codes: Number of codes in use.
        temperatures: Width in cosine for each task, shape ``(m, 1)``.
    """
    near = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperatures)
    share = near * facts.weight
    total = share.sum(axis=1, keepdims=True)
    share /= np.where(total > 0.0, total, 1.0)
    credit = share * facts.credit
    # A column of its own for "no agent", in front.
    base = (codes + 1) * np.arange(len(cosines))[:, None] + 1

    def tally(who: NDArray[np.int32], much: NDArray[np.float32]) -> NDArray[np.float64]:
        counted = np.bincount((base + who).ravel(), much.ravel(), minlength=len(cosines) * (codes + 1))
        votes: NDArray[np.float64] = counted.reshape(len(cosines), codes + 1)[:, 1:].astype(np.float64)
        return votes

    good = tally(facts.right, credit)
    against = credit * facts.rivalry
    bad = against.sum(axis=1, keepdims=True) - tally(facts.right, against)
    if facts.blame.any():
        bad += tally(facts.wrong, share * facts.blame)
    return Votes(good, np.maximum(bad, 0.0))


def evidence(
    votes: Votes, columns: NDArray[np.intp], labels: Literal["exclusive", "independent"]
) -> NDArray[np.float64]:
    """Log shares (exclusive) or log odds (independent) of the agents with these codes, shape ``(m, len(columns))``.

    An agent that the neighbours do not mention stands at the prior: one in as many as there are, or even odds.
    A code of -1 is an agent that nothing at all is known of.
    """
    known = columns >= NOBODY
    good: NDArray[np.float64] = np.where(known, votes.good[:, columns], 0.0)
    bad: NDArray[np.float64] = np.where(known, votes.bad[:, columns], 0.0)
    if labels == "independent":
        odds = (good + DOUBT / 2.0) / (bad + DOUBT / 2.0)
    else:
        odds = (good + DOUBT / max(len(columns), 1)) / (good + bad + DOUBT)
    return np.log(odds, out=odds)
