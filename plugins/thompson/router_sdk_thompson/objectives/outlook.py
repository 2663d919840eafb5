"""What requests read of prices and budgets: one finished picture, published with the posteriors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_sdk.plugin import Agent, AgentSet
    from router_sdk_thompson.objectives.objectives import Objectives

STATED_MASS = 3.0
"""Observations that a stated cost or latency is worth."""
BEYOND = 1_000.0
"""What a utility is lowered by where the budget no longer holds the agent; the least dear stays ahead."""

Latency = tuple[float, float, float]
"""Count, sum of the logarithms of latency, and sum of their squares."""
Cost = tuple[float, float]
"""Count and sum of cost."""


class Price(NamedTuple):
    """Predicted latency and cost of one agent; None where nothing is known."""

    latency_ms: float | None
    cost_usd: float | None


class Charge(NamedTuple):
    """What a budget makes of a price: ``multiplier * price / share``; beyond ``room`` an agent is not to be asked."""

    multiplier: float
    share: float
    room: float

    def of(self, price: float) -> float:
        """What to take off the utility."""
        if price > self.room:
            return BEYOND * (1.0 + price / (1.0 + price))
        return self.multiplier * price / self.share


class Outlook:
    """Prices and budgets at one moment; never changed, so any thread may read it.

    Args:
        objectives: What is wanted.
        latency: Sums per agent.
        cost: Sums per agent.
        for_cost: Budgets of cost.
        for_latency: Budgets of latency.
    """

    __slots__ = ("_cost", "_for_cost", "_for_latency", "_latency", "_prices", "objectives", "quality_alone")

    def __init__(
        self,
        objectives: Objectives,
        latency: Mapping[str, Latency],
        cost: Mapping[str, Cost],
        for_cost: Sequence[Charge],
        for_latency: Sequence[Charge],
    ) -> None:
        self.objectives, self.quality_alone = objectives, objectives.quality_alone
        self._latency, self._cost = latency, cost
        self._for_cost, self._for_latency = for_cost, for_latency
        self._prices: dict[str, tuple[Agent, Price]] = {}

    def pursuing(self, objectives: Objectives) -> Outlook:
        """The same prices under other weights; budgets that are new bind from the next outcome on."""
        same = objectives.max_cost_usd == self.objectives.max_cost_usd
        same = same and objectives.max_latency_ms == self.objectives.max_latency_ms
        same = same and objectives.window == self.objectives.window
        charges = (self._for_cost, self._for_latency) if same else ((), ())
        return Outlook(objectives, self._latency, self._cost, *charges)

    def price(self, agent: Agent) -> Price:
        """What to expect of one agent: log-normal latency and mean cost, stated figures counting a little."""
        count, log, square = self._latency.get(agent.name, (0.0, 0.0, 0.0))
        if agent.latency_ms is not None:
            stated = math.log1p(agent.latency_ms)
            count, log, square = count + STATED_MASS, log + STATED_MASS * stated, square + STATED_MASS * stated**2
        expected = None
        if count > 0.0:
            mean = log / count
            spread = max(square / count - mean * mean, 0.0)
            expected = max(math.expm1(min(mean + spread / 2.0, 100.0)), 0.0)
        spent, total = self._cost.get(agent.name, (0.0, 0.0))
        if agent.cost_usd is not None:
            spent, total = spent + STATED_MASS, total + STATED_MASS * agent.cost_usd
        return Price(expected, max(total / spent, 0.0) if spent > 0.0 else None)

    def prices(self, agents: AgentSet) -> Mapping[str, Price]:
        """What to expect of each agent; kept by agent, for sets of them are without number."""
        known, found = self._prices, {}
        for agent in agents:
            said = known.get(agent.name)
            if said is None or said[0] is not agent:
                said = known[agent.name] = agent, self.price(agent)
            found[agent.name] = said[1]
        return found

    def utility(
        self, agents: AgentSet, names: Iterable[str], means: Sequence[float], widths: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Turn expected rewards and their widths into utilities by weights and budgets."""
        wanted, prices = self.objectives, self.prices(agents)
        utilities, reaches = [], []
        for name, mean, width in zip(names, means, widths, strict=True):
            latency, cost = prices[name]
            total, weight, charge = wanted.quality * mean, wanted.quality, 0.0
            if wanted.latency and latency is not None:
                total += wanted.latency * math.exp(-latency / wanted.latency_scale_ms)
                weight += wanted.latency
            if wanted.cost and cost is not None:
                total += wanted.cost * math.exp(-cost / wanted.cost_scale_usd)
                weight += wanted.cost
            if cost is not None:
                charge += sum([each.of(cost) for each in self._for_cost])
            if latency is not None:
                charge += sum([each.of(latency) for each in self._for_latency])
            utilities.append(total / weight - charge)
            reaches.append(0.0 if charge >= BEYOND else width * wanted.quality / weight)
        return utilities, reaches
