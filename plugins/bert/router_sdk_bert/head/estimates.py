"""What the head says of tasks, and the policy that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.numerics.shared_draw import shared_draw
from router_sdk.plugin import Proposal
from router_sdk_bert.head.out_of_scope import too_novel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.neighbours import Neighbours

LEVEL = 10
"""Decimals to which log odds are told apart: they come from long sums."""


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
        limit: Novelty above which a task is like nothing that is known; None where that is not known.
        codes: Codes by which neighbours speak of the agents, shape ``(k,)``; None where no stored outcomes were found.
    """

    odds: NDArray[np.float64]
    chances: NDArray[np.float64]
    nobody: float
    doubt: NDArray[np.float64]
    novelty: float
    neighbours: Neighbours | None
    limit: float | None = None
    codes: NDArray[np.int32] | None = None


class Choice(NamedTuple):
    """What several policies come to together at one task, in the order of the agents.

    Attributes:
        probabilities: Of each agent, summing to 1.
        scores: Reward expected of each, averaged over the policies as the mixture is.
        policy: Which has most of the mixture.
        weights: Share of each policy.
    """

    probabilities: list[float]
    scores: list[float]
    policy: str
    weights: dict[str, float]


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


def choice_probabilities(odds: NDArray[np.float64], doubt: NDArray[np.float64]) -> list[float]:
    """Probability that each agent is the best, of length ``k``, summing to 1.

    An agent's log odds are taken to be its estimate plus ``|z|`` times its doubt, with one standard normal ``z`` for
    all. Agents that are known equally well differ by their estimates alone, and then nothing is explored.

    Args:
        odds: Log odds, shape ``(k,)``.
        doubt: Standard deviations, shape ``(k,)``, at least 0.
    """
    return shared_draw(odds.round(LEVEL).tolist(), doubt.round(LEVEL).tolist())


def proposal_of(
    estimate: Estimate,
    choice: Choice,
    names: tuple[str, ...],
    config: HeadConfig,
    evidence: Callable[[], Mapping[str, Any]],
) -> Proposal:
    """The policy that follows from an estimate, or from the mixture in which it has a part.

    Nobody gets the task where that is likelier than any agent, or the task is too novel.
    """
    chances = estimate.chances.tolist()
    best = chances[int(estimate.odds.argmax())]
    if estimate.nobody > best:
        return Proposal({}, confidence=min(estimate.nobody, 1.0), evidence=evidence, no_agent_fits=True)
    if too_novel(estimate.novelty, config.novelty_threshold, estimate.limit):
        return Proposal({}, confidence=1.0 - best, evidence=evidence, no_agent_fits=True)
    given, scores, _, _ = choice
    favourite = given.index(max(given))
    return Proposal(
        dict(zip(names, given, strict=True)),
        scores=dict(zip(names, scores, strict=True)),
        confidence=min(max(scores[favourite], 0.0), 1.0),
        evidence=evidence,
    )
