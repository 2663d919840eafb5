"""Holds a proposal to one task's own budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import Proposal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk.plugin import Task
    from router_sdk_thompson.outlook import Price


def within_budget(proposal: Proposal, task: Task, prices: Mapping[str, Price]) -> Proposal:
    """Give what agents beyond the task's budget had to the others; if all are beyond it, to the cheapest or fastest."""
    most_usd, most_ms = task.max_cost_usd, task.max_latency_ms
    affordable = {
        name
        for name, (latency, cost) in prices.items()
        if (most_usd is None or cost is None or cost <= most_usd)
        and (most_ms is None or latency is None or latency <= most_ms)
    }
    if len(affordable) == len(prices):
        return proposal
    if not affordable:
        which = 1 if most_usd is not None else 0
        affordable = {min(sorted(prices), key=lambda name: prices[name][which] or 0.0)}
    kept = sum([chance for name, chance in proposal.probabilities.items() if name in affordable])
    scores = proposal.scores or proposal.probabilities
    favourite = max(sorted(affordable), key=lambda name: scores[name])
    probabilities = {
        name: (chance / kept if kept > 0.0 else float(name == favourite)) if name in affordable else 0.0
        for name, chance in proposal.probabilities.items()
    }
    best = max(sorted(affordable), key=lambda name: probabilities[name])
    confidence = min(max(scores[best], 0.0), 1.0)
    return Proposal(probabilities, proposal.scores, confidence, proposal.evidence)
