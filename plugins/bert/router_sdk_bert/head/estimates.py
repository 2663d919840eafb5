"""What the head says of tasks, and the policy that follows from it."""

from __future__ import annotations

from math import erf, inf, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.plugin import Proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
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


def proposal_of(
    estimate: Estimate, names: tuple[str, ...], config: HeadConfig, evidence: Callable[[], Mapping[str, Any]]
) -> Proposal:
    """The policy that follows from an estimate.

    Nobody gets the task where that is likelier than any agent, or the task is too novel.
    """
    best = int(np.argmax(estimate.odds))
    if estimate.nobody > estimate.chances[best]:
        return Proposal({}, confidence=min(estimate.nobody, 1.0), evidence=evidence, no_agent_fits=True)
    if config.novelty_threshold is not None and estimate.novelty > config.novelty_threshold:
        return Proposal({}, confidence=float(1.0 - estimate.chances[best]), evidence=evidence, no_agent_fits=True)
    given = shares(estimate.odds, estimate.doubt)
    chances = estimate.chances.tolist()
    favourite = int(np.argmax(given))
    return Proposal(
        dict(zip(names, given.tolist(), strict=True)),
        scores=dict(zip(names, chances, strict=True)),
        confidence=min(max(chances[favourite], 0.0), 1.0),
        evidence=evidence,
    )
