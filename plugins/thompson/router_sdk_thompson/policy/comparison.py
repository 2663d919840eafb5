"""Which posteriors are compared as policies, what each is trusted with at first, and what is expected of agents.

Cells know an agent's record and nothing of the task; where texts and features say nothing of who is better, they are
the best there is. A posterior over words may predict rewards well and choose badly, so that it is not errors that are
compared but what each one's favourite would have earned (``router_sdk.numerics.policy_comparison``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


POLICIES = ("cells", "text", "features", "linear")
"""The record by task type; words; features, with Fourier features where some are added; features without them."""
CELLS, TEXT, FEATURES, LINEAR = range(4)
TRUST = (0.05, 0.06, 0.27, 0.62)
"""What each is trusted with at first."""
TOLD = (0.01, 0.75, 0.07, 0.17)
"""The same where agents' examples say what texts are theirs."""
GUESSED = 10.0
"""Outcomes that the mean of all rewards is worth in what is expected of an agent."""


def rates(records: Sequence[tuple[float, float]], mean: float) -> list[float]:
    """What each agent's record, as ``CellEvidence.records`` has it, lets expect, shrunk towards the mean reward."""
    return [(GUESSED * mean + reward) / (GUESSED + mass) for mass, reward in records]
