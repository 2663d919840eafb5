"""What the head says of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from router_sdk_bert.head.neighbours import Neighbours


class Estimate(NamedTuple):
    """What is thought of one task.

    Attributes:
        odds: Log odds of each agent, shape ``(k,)``; with exclusive labels up to a constant.
        chances: Calibrated chance of success of each agent, shape ``(k,)``; with exclusive labels and ``nobody``
            they sum to 1.
        nobody: Chance that no agent fits; 0 where that was never seen.
        doubt: Standard deviation of what is not known of each agent here, on the scale of ``odds``.
        novelty: How far the task is from everything seen; about 0 to 1.
        neighbours: The stored rows nearest to it, or None.
    """

    odds: NDArray[np.float64]
    chances: NDArray[np.float64]
    nobody: float
    doubt: NDArray[np.float64]
    novelty: float
    neighbours: Neighbours | None


class Estimates(NamedTuple):
    """The same for ``n`` tasks, as arrays.

    Attributes:
        probabilities: Calibrated chances, shape ``(n, k)``.
        confidence: That of the favourite, shape ``(n,)``.
        novelty: Shape ``(n,)``.
        uncertainty: Doubt about each agent, shape ``(n, k)``.
        nobody: Chance that no agent fits, shape ``(n,)``.
    """

    probabilities: NDArray[np.float64]
    confidence: NDArray[np.float64]
    novelty: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    nobody: NDArray[np.float64]


def gather(
    estimate: Callable[[NDArray[np.float32], tuple[str, ...]], Estimate | None],
    vectors: NDArray[np.float32],
    names: tuple[str, ...],
) -> Estimates:
    """Estimates of many tasks, one after the other, so that each is what a request would get.

    Where there is nothing to judge by, all agents are alike, with no confidence and full novelty.
    """
    count = len(names)
    flat = Estimate(np.zeros(count), np.full(count, 1.0 / max(count, 1)), 0.0, np.ones(count), 1.0, None)
    found = [estimate(vector, names) for vector in vectors]
    told = [flat if one is None else one for one in found]
    best = [0.0 if one is None else float(one.chances[np.argmax(one.odds)]) for one in found]
    return Estimates(
        np.array([one.chances for one in told]).reshape(len(told), count),
        np.array(best),
        np.array([one.novelty for one in told]),
        np.array([one.doubt for one in told]).reshape(len(told), count),
        np.array([one.nobody for one in told]),
    )
