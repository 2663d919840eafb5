"""The Beta posterior of an agent's success rate on a type of task: what is assumed, and what its record says."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from router_sdk.plugin import Agent
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.priors.tables import PriorRate


class Tally(NamedTuple):
    """Observations and reward at the log's present."""

    mass: float
    reward: float


NOTHING = Tally(0.0, 0.0)


def tally_of(mass: float, reward: float, scale: float) -> Tally:
    """Stored sums at the log's present; rounding left by corrections must not become a negative count."""
    mass = max(mass * scale, 0.0)
    return Tally(mass, min(max(reward * scale, 0.0), mass))


class BetaPosterior(NamedTuple):
    """Belief about one agent's success rate on one task type.

    Attributes:
        alpha: First parameter, above 0.
        beta: Second parameter, above 0.
        evidence: Observations of this very task type.
        borrowed: Observations that other task types lent.
    """

    alpha: float
    beta: float
    evidence: float
    borrowed: float

    @property
    def mean(self) -> float:
        """Expected reward in [0, 1]."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def width(self) -> float:
        """Standard deviation of the success rate."""
        mass = self.alpha + self.beta
        return sqrt(self.alpha * self.beta / (mass + 1.0)) / mass

    def interval(self) -> tuple[float, float]:
        """Where the success rate lies with about 95 %, in [0, 1] (normal approximation)."""
        mean, reach = self.mean, 1.96 * self.width
        return max(0.0, mean - reach), min(1.0, mean + reach)


def posterior(
    agent: Agent, here: Tally, lent: Tally, config: ThompsonConfig, known: PriorRate | None = None, most: float = 0.0
) -> BetaPosterior:
    """Combine what is assumed, the record on other types and the record on this one.

    Args:
        agent: Whose ``success_rate`` counts where ``known`` says nothing.
        here: Its record on this type.
        lent: Its record on the types that lend.
        config: Masses of the priors.
        known: What a table of priors says of it on this type.
        most: Most that ``lent`` counts for, in observations.
    """
    stated = agent.success_rate if known is None else known.rate
    mass = known.mass if known is not None else config.prior_mass if stated is None else config.stated_mass
    # A stated rate of 0 or 1 must not become a certainty.
    rate = config.prior_mean if stated is None else (0.5 + stated * mass) / (1.0 + mass)
    borrowed = min(lent.mass, most)
    if borrowed > 0.0:
        rate = (rate * mass + lent.reward) / (mass + lent.mass)
        mass = max(mass, borrowed)
    alpha = rate * mass + here.reward
    beta = (1.0 - rate) * mass + here.mass - here.reward
    return BetaPosterior(alpha, beta, here.mass, borrowed)
