"""From what is believed of the agents to a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.plugin import Proposal
from router_sdk_thompson.chances import chances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_sdk_thompson.config import Sampling


class Belief(NamedTuple):
    """What one posterior says of some agents at one task, in their order.

    Attributes:
        mode: Which posterior.
        means: Expected rewards.
        widths: How far doubt reaches, in rewards.
        counts: Observations behind each.
        seed: Names the state and the task, for joint draws.
    """

    mode: str
    means: list[float]
    widths: list[float]
    counts: list[float]
    seed: str


def proposal_of(belief: Belief, names: Sequence[str], sampling: Sampling) -> Proposal:
    """Probabilities, scores and reasons."""
    means, widths = belief.means, belief.widths
    found = chances(sampling, names, means, widths, belief.seed)
    best = found.index(max(found))

    def explain() -> Mapping[str, Any]:
        agents = {
            name: {"mean": mean, "interval": (mean - 1.96 * width, mean + 1.96 * width), "evidence": count}
            for name, mean, width, count in zip(names, means, widths, belief.counts, strict=True)
        }
        return {"mode": belief.mode, "sampling": sampling, "agents": agents}

    confidence = min(max(means[best], 0.0), 1.0)
    return Proposal(dict(zip(names, found, strict=True)), dict(zip(names, means, strict=True)), confidence, explain)
