"""From what is believed of the agents to a proposal, by the way of exploring that was configured."""

from __future__ import annotations

import hashlib
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.shared_draw import shared_draw
from router_sdk.plugin import Proposal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet
    from router_sdk_thompson.config import Sampling
    from router_sdk_thompson.objectives.estimates import Estimates
    from router_sdk_thompson.posteriors.belief import Belief

DRAWS_TOTAL = 32_768
DRAWS_MOST = 1_024
DRAWS_LEAST = 64


def proposal_of(belief: Belief, agents: AgentSet, sampling: Sampling, estimates: Estimates) -> Proposal:
    """Probabilities, scores and reasons."""
    names, means, widths = agents.names, belief.means, belief.widths
    rewards, reaches = belief.rewards() if belief.logits else (means, widths)
    heights, contenders = rewards, belief.contenders if sampling == "shared" else None
    if not estimates.quality_alone:
        # Logits are drawn as they are where nothing else counts: the sigmoid keeps their order.
        heights, widths = estimates.utility(agents, names, rewards, reaches)
        means, contenders = heights, None
    if contenders is None:
        found = choice_probabilities(sampling, names, means, widths, belief.seed)
        probabilities, best = dict(zip(names, found)), found.index(max(found))  # noqa: B905
    else:
        found = shared_draw([means[place] for place in contenders], [widths[place] for place in contenders])
        probabilities, best = dict.fromkeys(names, 0.0), contenders[found.index(max(found))]
        for place, share in zip(contenders, found, strict=True):
            probabilities[names[place]] = share

    def explain() -> Mapping[str, Any]:
        prices = estimates.prices(agents)
        counts = belief.counts(names)
        told = {
            name: {"mean": mean, "interval": interval, "evidence": count, **prices[name]._asdict()}
            for name, mean, interval, count in zip(names, rewards, belief.intervals(), counts, strict=True)
        }
        return {"mode": belief.mode, "sampling": sampling, "agents": told}

    confidence = min(max(rewards[best], 0.0), 1.0)
    return Proposal(probabilities, dict(zip(names, heights)), confidence, explain)  # noqa: B905


def mixture(parts: Sequence[tuple[str, float, Proposal]]) -> Proposal:
    """One proposal of several policies' over the same agents: scores, confidence and reasons are the leader's.

    Args:
        parts: Name, share and proposal of each, at least one; shares need not sum to 1.
    """
    total = sum([share for _, share, _ in parts])
    leader = max(parts, key=itemgetter(1))[2]
    probabilities = leader.probabilities
    if len(parts) > 1:
        probabilities = dict.fromkeys(leader.probabilities, 0.0)
        for _, share, proposal in parts:
            share /= total
            for agent, chance in proposal.probabilities.items():
                probabilities[agent] += share * chance

    def explain() -> Mapping[str, Any]:
        evidence = leader.evidence
        told = evidence() if callable(evidence) else evidence or {}
        return {**told, "policies": {name: share / total for name, share, _ in parts}}

    return Proposal(probabilities, leader.scores, leader.confidence, explain)


def choice_probabilities(
    sampling: Sampling, names: Sequence[str], means: Sequence[float], widths: Sequence[float], seed: str
) -> list[float]:
    """Probability of each agent.

    Args:
        sampling: How doubt explores.
        names: The agents' names, distinct.
        means: Expected reward of each.
        widths: Standard deviation of each expectation, at least 0.
        seed: Names the state and the request, for joint draws.

    Returns:
        Probabilities in the order of ``names``, which do not depend on that order.
    """
    if sampling == "shared":
        return shared_draw(means, widths)
    if sampling == "independent":
        order = sorted(range(len(names)), key=names.__getitem__)
        drawn = normal_draws([means[i] for i in order], [widths[i] for i in order], seed)
        found = [0.0] * len(names)
        for place, chance in zip(order, drawn, strict=True):
            found[place] = chance
        return found
    bonus = 1.0 if sampling == "ucb" else 0.0
    heights = [mean + bonus * width for mean, width in zip(means, widths, strict=True)]
    best = max(heights)
    ties = heights.count(best)
    return [float(height == best) / ties for height in heights]


def draw_count(agents: int) -> int:
    """How many joint draws are made over that many agents."""
    return min(DRAWS_MOST, max(DRAWS_LEAST, DRAWS_TOTAL // max(agents, 1)))


def _generator(seed: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=16).digest())
    return np.random.Generator(np.random.Philox(key=key))


def _shares(draws: NDArray[np.float64]) -> list[float]:
    wins = np.bincount(draws.argmax(axis=1), minlength=draws.shape[1])
    return [float(won) / len(draws) for won in wins]


def beta_draws(alphas: Sequence[float], betas: Sequence[float], seed: str) -> list[float]:
    """Share of joint draws from the Betas that each agent wins.

    Args:
        alphas: First parameters, above 0, of length ``k``, in an order that does not depend on the caller's.
        betas: Second parameters, above 0.
        seed: Anything that names this state of the evidence; the same seed gives the same answer.

    Returns:
        ``k`` probabilities that sum to 1.
    """
    size = (draw_count(len(alphas)), len(alphas))
    return _shares(_generator(seed).beta(alphas, betas, size=size))


def normal_draws(means: Sequence[float], widths: Sequence[float], seed: str) -> list[float]:
    """Share of joint draws from normal distributions that each agent wins; arguments as for ``beta_draws``."""
    size = (draw_count(len(means)), len(means))
    return _shares(_generator(seed).normal(means, widths, size=size))
