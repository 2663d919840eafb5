"""The hidden ground truth of the scenario: which agent an analyst wants to see next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_sdk.demo.marketing_mix import SessionState

DATA_SCIENTIST = "data_scientist"
BUSINESS_ANALYST = "business_analyst"
STAKEHOLDER = "stakeholder"
AGENT_NAMES = (DATA_SCIENTIST, BUSINESS_ANALYST, STAKEHOLDER)

# What each industry changes: (tolerated MAPE in points, weight of business flags). Demand in telecommunications
# is noisy by nature; in pharmaceuticals an implausible coefficient is a matter for the regulator.
INDUSTRIES = {
    "CPG": (0.0, 1.0),
    "Retail": (1.0, 1.0),
    "Automotive": (0.0, 1.2),
    "Telecom": (4.0, 0.8),
    "Pharma": (-1.0, 2.0),
}


@dataclass(frozen=True, slots=True)
class Analyst:
    """Judges an optimisation session and wants one agent to go on.

    Args:
        strictness: 0 is the analyst that synthetic data are made with; 1 asks for a MAPE six points lower,
            for a better R², and accepts no open business flag.
        sharpness: How firmly the analyst sticks to the judgement; a small number is a coin toss.
    """

    strictness: float = 0.0
    sharpness: float = 3.0

    def preferences(self, state: SessionState) -> dict[str, float]:
        """Probability that each agent is the one the analyst wants next; they sum to 1."""
        slack, flag_weight = INDUSTRIES[state.industry]
        tolerated_mape = 13.0 - 6.0 * self.strictness + slack
        wanted_r2 = 0.70 + 0.10 * self.strictness
        tolerated_flags = 1.4 - 1.1 * self.strictness
        implausible = max(0.0, abs(state.tv_adstock_decay - 0.5) - 0.25) * 6.0
        needs = {
            DATA_SCIENTIST: (state.mape - tolerated_mape) / 3.0 + max(0.0, wanted_r2 - state.r2) * 4.0,
            BUSINESS_ANALYST: flag_weight * (state.business_flags - tolerated_flags) + implausible,
            STAKEHOLDER: -1.5 if state.iteration == 1 else 0.0,
        }
        # The same agent twice in a row has little new to say.
        if len(state.history) >= 2 and state.history[-1] == state.history[-2]:
            needs[state.history[-1]] -= 0.8
        peak = max(needs.values())
        weights = {name: math.exp(self.sharpness * (need - peak)) for name, need in needs.items()}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}
