"""Evidence per task type and agent: how much was observed, and how much reward came of it.

Evidence alone, never the prior: two processes that read the same log hold the same numbers, whatever the order in
which agents were added. Observations count less as the log grows older; instead of shrinking every cell at every
event, each observation is added at ``2 ** ((its time - origin) / half_life)``, so that a correction takes back
exactly what was added, and the whole is scaled when it is read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.numerics.cusum import bernoulli_residual
from router_sdk_thompson.detection import new_detector, threshold_of
from router_sdk_thompson.labels import changes
from router_sdk_thompson.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from router_sdk.plugin import Example
    from router_sdk_thompson.config import ThompsonConfig

FAR = 64.0
"""Half-lives between an event and the origin beyond which the origin moves."""

Cell = list[Any]
"""``[observations, reward, the agent's Standing]``, scaled to the origin."""


class Tally(NamedTuple):
    """Observations and reward at the log's present."""

    mass: float
    reward: float


NOTHING = Tally(0.0, 0.0)


class CellEvidence:
    """Forgetful counts per task type and agent.

    Args:
        config: The strategy's configuration: half-life, reading of labels, change detection.

    Attributes:
        events: Outcomes folded so far, revisions included.
        cells: Task type to agent to cell.
        standings: Agent to its standing over all task types.
        origin: Log time to which what is stored is scaled, or None before the first event.
        latest: The log's present, in seconds since the epoch.
    """

    def __init__(self, config: ThompsonConfig) -> None:
        self.config = config
        self._rate = 0.0 if config.half_life_s is None else 1.0 / config.half_life_s
        self.cells: dict[str, dict[str, Cell]] = {}
        self.standings: dict[str, Standing] = {}
        self.origin: float | None = None
        self.latest = -math.inf
        self.events = 0

    def fold(self, examples: Sequence[Example]) -> set[str]:
        """Add what the examples tell; returns the task types that were touched."""
        config, cells, rate = self.config, self.cells, self._rate
        threshold, ignore = threshold_of(config), config.labels == "ignore"
        touched: set[str] = set()
        weight = 1.0
        for example in examples:
            self.events += 1
            signals = example.signals
            labelled = signals[3] is not None or signals[4]
            if not labelled and (previous := example.previous) is not None:
                labelled = previous[3] is not None or previous[4]
            reward, before = example.reward, example.previous_reward
            if reward is None and before is None and not labelled:
                continue
            if rate:
                weight = self._weight(example.first_at, example.at)
            task_type = example.task_type
            touched.add(task_type)
            if labelled and not ignore:
                for agent, old, new in changes(example, config.labels):
                    mass = float(new is not None) - float(old is not None)
                    self._add(example, agent, mass * weight, ((new or 0.0) - (old or 0.0)) * weight)
                continue
            agent_name = example.agent
            if agent_name is None:
                continue
            if before is not None or reward is None:
                mass = -weight if reward is None else 0.0
                self._add(example, agent_name, mass, ((reward or 0.0) - (before or 0.0)) * weight)
                continue
            try:
                cell = cells[task_type][agent_name]
            except KeyError:
                cell = self._cell(task_type, agent_name)
            standing = cell[2]
            share = weight
            if standing.changed_event >= 0:
                share *= standing.weight(self.events, example.at, example.first_at)
            if threshold is not None:
                residual = bernoulli_residual(reward, self._expected(cell, standing, share))
                if standing.detector.update(residual, threshold):
                    self._change(agent_name, standing, example.at, weight)
                    share = weight
            cell[0] += share
            standing.mass += share
            cell[1] += reward * share
            standing.reward += reward * share
        return touched

    def _expected(self, cell: Cell, standing: Standing, unit: float) -> float:
        """Posterior mean before this outcome, in stored units; the stated prior is left to the policy."""
        config = self.config
        mass = config.prior_mass * unit
        lent = standing.mass - cell[0]
        rate = (config.prior_mean * mass + standing.reward - cell[1]) / (mass + lent)
        borrowed = config.borrowed_mass * unit
        if borrowed > lent:
            borrowed = lent
        if borrowed > mass:
            mass = borrowed
        expected: float = (rate * mass + cell[1]) / (mass + cell[0])
        return expected

    def _change(self, agent: str, standing: Standing, at: float, unit: float) -> None:
        factor = standing.change(self.events, at, unit)
        standing.mass *= factor
        standing.reward *= factor
        for row in self.cells.values():
            if (cell := row.get(agent)) is not None:
                cell[0] *= factor
                cell[1] *= factor

    def _weight(self, first_at: float, at: float) -> float:
        if at > self.latest:
            self.latest = at
        if self.origin is None:
            self.origin = first_at
        exponent: float = (first_at - self.origin) * self._rate
        if exponent > FAR:
            self._rescale(2.0**-exponent)
            self.origin, exponent = first_at, 0.0
        return float(2.0**exponent)

    def _rescale(self, factor: float) -> None:
        for row in self.cells.values():
            for cell in row.values():
                cell[0] *= factor
                cell[1] *= factor
        for standing in self.standings.values():
            standing.mass *= factor
            standing.reward *= factor

    def _cell(self, task_type: str, agent: str) -> Cell:
        standing = self.standings.get(agent)
        if standing is None:
            standing = self.standings[agent] = Standing(new_detector(self.config))
        return self.cells.setdefault(task_type, {}).setdefault(agent, [0.0, 0.0, standing])

    def _add(self, example: Example, agent: str, mass: float, gain: float) -> None:
        cell = self._cell(example.task_type, agent)
        standing = cell[2]
        share = standing.weight(self.events, example.at, example.first_at)
        # What is taken back after a change has only about the weight at which it was added: no count may go below 0.
        cell[0] = max(cell[0] + mass * share, 0.0)
        cell[1] = min(max(cell[1] + gain * share, 0.0), cell[0])
        standing.mass = max(standing.mass + mass * share, 0.0)
        standing.reward = min(max(standing.reward + gain * share, 0.0), standing.mass)

    def scale(self) -> float:
        """Share of what is stored that time has left at the log's present."""
        return 2.0 ** ((self.origin - self.latest) * self._rate) if self._rate and self.origin is not None else 1.0

    def tally(self, task_type: str, agents: Iterable[str]) -> list[tuple[Tally, Tally]]:
        """Per agent: the evidence on this task type, and on all the others."""
        row, overall = self.cells.get(task_type, {}), self.scale()
        found = []
        for agent in agents:
            standing = self.standings.get(agent)
            if standing is None:
                found.append((NOTHING, NOTHING))
                continue
            cell = row.get(agent)
            scale = overall * standing.scale(self.events)
            mass, reward = (0.0, 0.0) if cell is None else (cell[0], cell[1])
            elsewhere = tally_of(standing.mass - mass, standing.reward - reward, scale)
            found.append((tally_of(mass, reward, scale), elsewhere))
        return found

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self.standings.pop(name, None)
            for row in self.cells.values():
                row.pop(name, None)

    def report(self) -> dict[str, Any]:
        """Totals and changes per agent at the log's present."""
        overall = self.scale()
        agents = {}
        for name, standing in list(self.standings.items()):
            tally = tally_of(standing.mass, standing.reward, overall * standing.scale(self.events))
            agents[name] = {**tally._asdict(), "changes": standing.detector.alarms}
        return {"task_types": len(self.cells), "events": self.events, "agents": agents}


def tally_of(mass: float, reward: float, scale: float) -> Tally:
    """Stored sums at the log's present; rounding left by corrections must not become a negative count."""
    mass = max(mass * scale, 0.0)
    return Tally(mass, min(max(reward * scale, 0.0), mass))
