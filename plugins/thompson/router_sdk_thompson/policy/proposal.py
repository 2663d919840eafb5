"""From what is believed of the agents to a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.plugin import Proposal
from router_sdk_thompson.policy.chances import chances
from router_sdk_thompson.posteriors.logistic import moderated, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_sdk.plugin import AgentSet
    from router_sdk_thompson.config import Sampling
    from router_sdk_thompson.objectives.outlook import Outlook


class Belief(NamedTuple):
    """What one posterior says of some agents at one task, in their order.

    Attributes:
        mode: Which posterior.
        means: Expected rewards, or logits of them.
        widths: How far doubt reaches, in the same units.
        counts: Asked for the observations behind each, when somebody wants to know.
        seed: Names the state and the task, for joint draws.
        logits: Whether means and widths are logits.
    """

    mode: str
    means: list[float]
    widths: list[float]
    counts: Callable[[Sequence[str]], list[float]]
    seed: str
    logits: bool = False

    def rewards(self) -> tuple[list[float], list[float]]:
        """Expected rewards and how far doubt about them reaches."""
        if not self.logits:
            return self.means, self.widths
        pairs = list(zip(self.means, self.widths, strict=True))
        steep = [sigmoid(mean) * (1.0 - sigmoid(mean)) for mean, _ in pairs]
        widths = [min(slope * width, 0.5) for slope, (_, width) in zip(steep, pairs, strict=True)]
        return [moderated(mean, width * width) for mean, width in pairs], widths

    def intervals(self) -> list[tuple[float, float]]:
        """Where each reward lies with about 95 %."""
        spans = [(m - 1.96 * w, m + 1.96 * w) for m, w in zip(self.means, self.widths, strict=True)]
        return [(sigmoid(low), sigmoid(high)) for low, high in spans] if self.logits else spans


def proposal_of(belief: Belief, agents: AgentSet, sampling: Sampling, outlook: Outlook) -> Proposal:
    """Probabilities, scores and reasons."""
    names, (rewards, reaches) = agents.names, belief.rewards()
    if outlook.quality_alone:
        # Logits are drawn as they are: the sigmoid keeps their order.
        heights, found = rewards, chances(sampling, names, belief.means, belief.widths, belief.seed)
    else:
        heights, widths = outlook.utility(agents, names, rewards, reaches)
        found = chances(sampling, names, heights, widths, belief.seed)
    best = found.index(max(found))

    def explain() -> Mapping[str, Any]:
        prices = outlook.prices(agents)
        counts = belief.counts(names)
        told = {
            name: {"mean": mean, "interval": interval, "evidence": count, **prices[name]._asdict()}
            for name, mean, interval, count in zip(names, rewards, belief.intervals(), counts, strict=True)
        }
        return {"mode": belief.mode, "sampling": sampling, "agents": told}

    confidence = min(max(rewards[best], 0.0), 1.0)
    return Proposal(dict(zip(names, found, strict=True)), dict(zip(names, heights, strict=True)), confidence, explain)
