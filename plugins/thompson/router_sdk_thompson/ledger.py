"""What the agents cost and how long they take: log-normal latency, mean cost, and the multipliers of the budgets.

A budget's multiplier rises while more is spent than planned and falls while less is (primal-dual: Agrawal and Devanur,
2014); what was overspent on average is at most the multiplier divided by ``STEP`` times the number of outcomes.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import Agent, AgentSet, Example, Signals
    from router_sdk_thompson.objectives import Objectives

STEP = 0.02
HIGHEST = 50.0
STATED_MASS = 3.0
"""Observations that a stated cost or latency is worth."""

Sums = list[float]
"""``[count, sum of log latency, sum of its squares]`` or ``[count, sum of cost]``."""


class Price(NamedTuple):
    """Predicted latency and cost of one agent; None where nothing is known."""

    latency_ms: float | None
    cost_usd: float | None


class Ledger:
    """Sums per agent, from the log alone.

    Args:
        objectives: Whose budgets the multipliers keep.
    """

    def __init__(self, objectives: Objectives) -> None:
        self.pursue(objectives)
        self.latency: dict[str, Sums] = {}
        self.cost: dict[str, Sums] = {}
        self.multipliers = [0.0, 0.0]

    def pursue(self, objectives: Objectives) -> None:
        """Change what is wanted; what was counted stays."""
        self.objectives = objectives
        self.quality_alone = objectives.quality_alone

    def fold(self, examples: Sequence[Example]) -> bool:
        """Add latencies and costs, corrected ones in place of what they correct; True where there were any."""
        found = False
        for example in examples:
            now, before, agent = example.signals, example.previous, example.agent
            if (now[5] is None and now[6] is None) or agent is None:
                continue
            found = True
            if before is not None:
                self._add(agent, before, -1.0)
            self._add(agent, now, 1.0)
            self._charge(0, now[6], before and before[6], self.objectives.max_cost_usd)
            self._charge(1, now[5], before and before[5], self.objectives.max_latency_ms)
        return found

    def _add(self, agent: str, signals: Signals, sign: float) -> None:
        if signals.latency_ms is not None:
            log = math.log1p(signals.latency_ms)
            sums = self.latency.setdefault(agent, [0.0, 0.0, 0.0])
            sums[0] += sign
            sums[1] += sign * log
            sums[2] += sign * log * log
        if signals.cost_usd is not None:
            sums = self.cost.setdefault(agent, [0.0, 0.0])
            sums[0] += sign
            sums[1] += sign * signals.cost_usd

    def _charge(self, which: int, now: float | None, before: float | None, budget: float | None) -> None:
        if budget is not None and now is not None and before is None:
            risen = self.multipliers[which] + STEP * (now / budget - 1.0)
            self.multipliers[which] = min(max(risen, 0.0), HIGHEST)

    def price(self, agent: Agent) -> Price:
        """What to expect of one agent."""
        latency = self.latency.get(agent.name, [0.0, 0.0, 0.0])
        count, log, square = latency
        if agent.latency_ms is not None:
            stated = math.log1p(agent.latency_ms)
            count, log, square = count + STATED_MASS, log + STATED_MASS * stated, square + STATED_MASS * stated**2
        mean = log / count if count > 0.0 else 0.0
        spread = max(square / count - mean * mean, 0.0) if count > 0.0 else 0.0
        expected = math.expm1(min(mean + spread / 2.0, 100.0)) if count > 0.0 else None
        spent, total = self.cost.get(agent.name, [0.0, 0.0])
        if agent.cost_usd is not None:
            spent, total = spent + STATED_MASS, total + STATED_MASS * agent.cost_usd
        return Price(expected, max(total / spent, 0.0) if spent > 0.0 else None)

    def prices(self, agents: AgentSet) -> dict[str, Price]:
        """What to expect of each agent."""
        return {agent.name: self.price(agent) for agent in agents}

    def utility(
        self, prices: Mapping[str, Price], names: Iterable[str], means: Sequence[float], widths: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Turn expected rewards and their widths into utilities by weights and multipliers."""
        wanted, (for_cost, for_latency) = self.objectives, self.multipliers
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
            if wanted.max_cost_usd is not None and cost is not None:
                charge += for_cost * cost / wanted.max_cost_usd
            if wanted.max_latency_ms is not None and latency is not None:
                charge += for_latency * latency / wanted.max_latency_ms
            utilities.append(total / weight - charge)
            reaches.append(width * wanted.quality / weight)
        return utilities, reaches

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self.latency.pop(name, None)
            self.cost.pop(name, None)

    def save(self, path: Path) -> None:
        """Write the sums."""
        state = {"latency": self.latency, "cost": self.cost, "multipliers": self.multipliers}
        path.write_text(json.dumps(state, allow_nan=False), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it cannot be read or a number is not finite.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            latency = {str(name): [float(number) for number in sums] for name, sums in state["latency"].items()}
            cost = {str(name): [float(number) for number in sums] for name, sums in state["cost"].items()}
            multipliers = [float(number) for number in state["multipliers"]]
            numbers = [*multipliers, *chain(*latency.values(), *cost.values())]
            if len(multipliers) != 2 or not all(math.isfinite(number) for number in numbers):
                raise ValueError("sums must be finite")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self.latency, self.cost, self.multipliers = latency, cost, multipliers
