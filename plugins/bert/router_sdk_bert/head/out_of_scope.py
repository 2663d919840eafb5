"""How far a task is from everything seen, allowing for how far those things are from each other.

A task's mean distance to its nearest neighbours, less half their own: a local outlier score (Breunig et al., 2000) as a
difference, which on CLINC150 separates better than the ratio, the distance alone or the energy of the log odds. What
the logistic estimate says loudest is taken off, a little: it knows which directions matter.

Where nobody says how far is too far, it is the distance that a stated share of what is known to be in scope exceeds,
each row compared with all others: a conformal quantile (Bates et al., "Testing for outliers with conformal p-values",
Annals of Statistics 2023).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_bert.head.rows import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.head.neighbours import Neighbours
    from router_sdk_bert.head.rows import Facts

NEAR = 20
"""Neighbours that a task's distance is measured to."""
AROUND = 5
"""Neighbours that theirs is measured to."""
ALLOWANCE = 0.5
"""Share of their own distance that is allowed for."""
LOUDNESS = 0.02
"""Distance that one unit of log odds, of the likeliest agent above the mean, makes up for."""
REFERENCES = 500
"""Rows among which surroundings are looked for."""
LEAST_KNOWN = 100
"""Rows in scope, each predicted before it was used, from which on a limit is looked for."""
LEAST_EACH = 5
"""Rows about every agent, before which tasks of an agent that is hardly known would look strange."""
LEAST_TRIED = 5
"""Outcomes of tasks beyond the limit that say whether refusing them is right."""
SIGNIFICANT = 1.64
"""Standard errors by which they must fall short."""
TRIED = 20
"""One in so many tasks beyond a derived limit is answered all the same, so that what is new in scope becomes known."""


def novelty(neighbours: Neighbours, odds: NDArray[np.float64]) -> Any:
    """Novelty of a task, or of several: from about -0.1 amid what is well known to about 0.8 far from everything.

    Args:
        neighbours: The stored rows nearest to it.
        odds: The logistic estimate's log odds of all agents.
    """
    usual = neighbours.cosines[..., :NEAR] + ALLOWANCE * neighbours.density[..., :NEAR]
    # Sums of numpy's own kind, because its means take three times as long.
    loudest = np.maximum.reduce(odds, axis=-1) - np.add.reduce(odds, axis=-1) / odds.shape[-1]
    return 1.0 - np.add.reduce(usual, axis=-1) / usual.shape[-1] - LOUDNESS * loudest


def novelty_limit(novel: NDArray[np.float64], facts: Facts, share: float) -> float | None:
    """How novel a task may be; None where that is not known, or what is beyond succeeds as well.

    Labels say nothing of how tasks beyond the limit would go: there what is refused is what is unlike all that was
    labelled. Where rewards are known of such tasks, these must be less than half of what is usual, significantly.

    Args:
        novel: Novelty of rows of which none was used to judge itself, shape ``(n,)``.
        facts: What is known of them.
        share: Of what is in scope that may be refused, in (0, 1).
    """
    known = np.sort(novel[(facts.right > NOBODY) & (facts.credit > 0.0)])
    place = math.ceil((len(known) + 1) * (1.0 - share))
    if len(known) < LEAST_KNOWN or place > len(known):
        return None
    limit = float(known[place - 1])
    acted = (facts.wrong > NOBODY) & (facts.wrong == facts.right)
    tried = acted & (novel > limit)
    count = int(np.count_nonzero(tried))
    if count < LEAST_TRIED:
        labelled = np.count_nonzero(~acted & (facts.right > NOBODY))
        return limit if 2 * labelled > len(novel) else None
    usual, theirs = float(facts.credit[acted].mean()), float(facts.credit[tried].mean())
    error = math.sqrt(usual * (1.0 - usual) / count)
    return limit if theirs + SIGNIFICANT * error < usual / 2.0 else None


def too_novel(novel: float, threshold: float | None, limit: float | None) -> bool:
    """Whether nobody should get a task.

    Args:
        novel: Its novelty.
        threshold: What a person set, which always holds; None goes by the limit.
        limit: What was derived, or None.
    """
    if threshold is not None:
        return novel > threshold
    # The last digits of a number that follows from the text: the same task is always tried, or never.
    return limit is not None and novel > limit and int(novel * 1e9) % TRIED != 0


def surroundings(
    vectors: NDArray[np.float32], references: NDArray[np.float32], own: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Mean distance of each vector to its nearest references, shape ``(n,)``; 0 where there are none.

    Args:
        vectors: Shape ``(n, d)``.
        references: Shape ``(r, d)``.
        own: Place of each reference among the vectors, if they are some of them: nothing is near because it is itself.
    """
    count = min(AROUND, len(references) - (own is not None))
    if count < 1:
        return np.zeros(len(vectors), dtype=np.float32)
    found = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), 1_024):
        cosines = vectors[start : start + 1_024] @ references.T
        if own is not None:
            within = np.flatnonzero((own >= start) & (own < start + 1_024))
            cosines[own[within] - start, within] = -1.0
        top = np.partition(cosines, cosines.shape[1] - count, axis=1)[:, cosines.shape[1] - count :]
        found[start : start + 1_024] = 1.0 - top.mean(axis=1)
    return found
