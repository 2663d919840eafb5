"""What the agents cost and how long they take, from the log alone, and the accounts of the budgets.

One finished picture of them is published with the posteriors, for requests to read.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.objectives.budget_pacing import Budget, BudgetPacer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import Agent, AgentSet, Example, ExampleColumns, Signals
    from router_sdk_thompson.objectives.objectives import Objectives


STATED_MASS = 3.0
"""Observations that a stated cost or latency is worth."""
BEYOND = 1_000.0
"""What a utility is lowered by where the budget no longer holds the agent; the least dear stays ahead."""

Latency = tuple[float, float, float]
"""Count, sum of the logarithms of latency, and sum of their squares."""
Cost = tuple[float, float]
"""Count and sum of cost."""
COST, LATENCY = "cost", "latency"


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


class Estimates:
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

    def pursuing(self, objectives: Objectives) -> Estimates:
        """The same prices under other weights; budgets that are new bind from the next outcome on."""
        same = objectives.max_cost_usd == self.objectives.max_cost_usd
        same = same and objectives.max_latency_ms == self.objectives.max_latency_ms
        same = same and objectives.window == self.objectives.window
        charges = (self._for_cost, self._for_latency) if same else ((), ())
        return Estimates(objectives, self._latency, self._cost, *charges)

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


class CostLatencyModel:
    """Sums per agent and the pacers of the budgets.

    Args:
        objectives: Whose budgets are kept. ``pursue`` may be called from any thread, the rest from the one that learns.
    """

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self._metered = objectives
        self._latency: dict[str, Latency] = {}
        self._cost: dict[str, Cost] = {}
        self._pacers = {key: BudgetPacer(budget) for key, budget in budgets(objectives).items()}
        self._estimates: Estimates | None = None

    def pursue(self, objectives: Objectives) -> None:
        """Change what is wanted; what was counted stays, and a budget that is new starts with a full purse."""
        self.objectives = objectives

    def _settle(self) -> None:
        """Take over what another thread wants."""
        wanted = self.objectives
        if wanted is not self._metered:
            before, self._metered, self._estimates = self._pacers, wanted, None
            self._pacers = {
                key: before[key] if key in before and before[key].budget == budget else BudgetPacer(budget)
                for key, budget in budgets(wanted).items()
            }

    def fold(self, examples: Sequence[Example]) -> bool:
        """Add latencies and costs, corrected ones in place of what they correct; True where there were any."""
        self._settle()
        found = False
        for example in examples:
            now, before, agent = example.signals, example.previous, example.agent
            if (now[5] is None and now[6] is None) or agent is None:
                continue
            found = True
            if before is not None:
                self._add(agent, before, -1.0)
            self._add(agent, now, 1.0)
            # What somebody else decided was not spent by this router.
            if self._pacers and example.source == "routed":
                self._charge(COST, now[6], before and before[6], example.at)
                self._charge(LATENCY, now[5], before and before[5], example.at)
        if found:
            self._estimates = None
        return found

    def fold_columns(self, columns: ExampleColumns) -> bool:
        """``fold`` of a batch, to the last bit: agent by agent, where no budget follows outcome by outcome."""
        self._settle()
        if self._pacers or any(example.previous is not None for example in columns.others.values()):
            return self.fold(columns.examples)
        latencies, costs = _by_agent(columns.agent, columns.latency_ms), _by_agent(columns.agent, columns.cost_usd)
        for agent, values in latencies.items():
            count, total, square = self._latency.get(agent, (0.0, 0.0, 0.0))
            for log in map(math.log1p, values):
                total += log
                square += log * log
            self._latency[agent] = (count + len(values), total, square)
        for agent, values in costs.items():
            count, total = self._cost.get(agent, (0.0, 0.0))
            for cost in values:
                total += cost
            self._cost[agent] = (count + len(values), total)
        if latencies or costs:
            self._estimates = None
        return bool(latencies or costs)

    def _add(self, agent: str, signals: Signals, sign: float) -> None:
        if signals.latency_ms is not None:
            log = math.log1p(signals.latency_ms)
            count, total, square = self._latency.get(agent, (0.0, 0.0, 0.0))
            self._latency[agent] = (count + sign, total + sign * log, square + sign * log * log)
        if signals.cost_usd is not None:
            count, total = self._cost.get(agent, (0.0, 0.0))
            self._cost[agent] = (count + sign, total + sign * signals.cost_usd)

    def _charge(self, what: str, now: float | None, before: float | None, at: float) -> None:
        if now is None:
            return
        for (measured, _), pacer in self._pacers.items():
            if measured != what:
                continue
            if before is None:
                pacer.charge(now, at)
            elif now != before:
                pacer.correct(now - before)

    def publish(self) -> Estimates:
        """Publish what was counted."""
        self._settle()
        if self._estimates is None:
            charges: dict[str, list[Charge]] = {COST: [], LATENCY: []}
            for (what, _), pacer in self._pacers.items():
                charges[what].append(Charge(pacer.multiplier, pacer.share, pacer.room))
            self._estimates = Estimates(
                self._metered, dict(self._latency), dict(self._cost), charges[COST], charges[LATENCY]
            )
        return self._estimates

    def prepared(self) -> Estimates:
        """``publish`` for agents whose stated figures may have changed."""
        self._estimates = None
        return self.publish()

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self._latency.pop(name, None)
            self._cost.pop(name, None)
        self._estimates = None

    def report(self) -> dict[str, dict[str, float]]:
        """Where each budget stands: its multiplier, and what may still be spent."""
        return {
            f"{what} per {unit}": {"multiplier": pacer.multiplier, "left": pacer.room}
            for (what, unit), pacer in self._pacers.items()
        }

    def save(self, path: Path) -> None:
        """Write the sums and accounts."""
        pacers = [[*key, pacer.state()] for key, pacer in self._pacers.items()]
        state = {"latency": self._latency, "cost": self._cost, "meters": pacers}
        path.write_text(json.dumps(state, allow_nan=False), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote; an account of a budget that is not wanted is left out.

        Raises:
            CorruptArtifactError: if it cannot be read or a number is not finite.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            latency: dict[str, Latency] = {}
            for name, (count, total, square) in state["latency"].items():
                latency[str(name)] = (float(count), float(total), float(square))
            cost: dict[str, Cost] = {}
            for name, (count, total) in state["cost"].items():
                cost[str(name)] = (float(count), float(total))
            if not all(math.isfinite(number) for number in chain(*latency.values(), *cost.values())):
                raise ValueError("sums must be finite")
            pacers = {(str(what), str(unit)): BudgetPacer.restored(each) for what, unit, each in state["meters"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self._latency, self._cost, self._estimates = latency, cost, None
        self._metered = wanted = self.objectives
        self._pacers = {
            key: pacers[key] if key in pacers and pacers[key].budget == budget else BudgetPacer(budget)
            for key, budget in budgets(wanted).items()
        }


def _by_agent(agents: Sequence[str | None], values: Sequence[float | None]) -> dict[str, list[float]]:
    """What is known of each agent, in order."""
    found: dict[str, list[float]] = {}
    for agent, value in zip(agents, values, strict=True):
        if value is not None and agent is not None:
            try:
                found[agent].append(value)
            except KeyError:
                found[agent] = [value]
    return found


def budgets(objectives: Objectives) -> dict[tuple[str, str], Budget]:
    """The budgets that are wanted, by what they count and per what."""
    found = {}
    if objectives.max_cost_usd is not None:
        found[COST, "task"] = Budget(objectives.max_cost_usd)
    if objectives.max_latency_ms is not None:
        found[LATENCY, "task"] = Budget(objectives.max_latency_ms)
    window = objectives.window
    if window is not None:
        if window.max_cost_usd is not None:
            found[COST, "window"] = Budget(window.max_cost_usd, window.tasks, window.seconds)
        if window.max_latency_ms is not None:
            found[LATENCY, "window"] = Budget(window.max_latency_ms, window.tasks, window.seconds)
    return found
