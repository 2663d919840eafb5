"""From an estimate to a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import Proposal
from router_sdk_bert.head.exploration import shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router_sdk_bert.head.estimates import Estimate
    from router_sdk_bert.head.settings import HeadConfig


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
