"""From what is believed of the agents to a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.plugin import Proposal
from router_sdk_thompson.chances import chances

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_sdk.plugin import AgentSet
    from router_sdk_thompson.config import Sampling
    from router_sdk_thompson.ledger import Ledger


class Belief(NamedTuple):
    """What one posterior says of some agents at one task, in their order.

    Attributes:
        mode: Which posterior.
        means: Expected rewards.
        widths: How far doubt reaches, in rewards.
        counts: Asked for the observations behind each, when somebody wants to know.
        seed: Names the state and the task, for joint draws.
    """

    mode: str
    means: list[float]
    widths: list[float]
    counts: Callable[[Sequence[str]], list[float]]
    seed: str


def proposal_of(belief: Belief, agents: AgentSet, sampling: Sampling, ledger: Ledger) -> Proposal:
    """Probabilities, scores and reasons."""
    names, means, widths = agents.names, belief.means, belief.widths
    if not ledger.quality_alone:
        means, widths = ledger.utility(ledger.prices(agents), names, means, widths)
    found = chances(sampling, names, means, widths, belief.seed)
    best = found.index(max(found))

    def explain() -> Mapping[str, Any]:
        prices = ledger.prices(agents)
        told = {
            name: {
                "mean": mean,
                "interval": (mean - 1.96 * width, mean + 1.96 * width),
                "evidence": count,
                **prices[name]._asdict(),
            }
            for name, mean, width, count in zip(names, belief.means, belief.widths, belief.counts(names), strict=True)
        }
        return {"mode": belief.mode, "sampling": sampling, "agents": told}

    confidence = min(max(belief.means[best], 0.0), 1.0)
    return Proposal(dict(zip(names, found, strict=True)), dict(zip(names, means, strict=True)), confidence, explain)
