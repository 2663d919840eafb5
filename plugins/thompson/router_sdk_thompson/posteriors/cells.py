"""The evidence per task type and agent, and its saving; ``beta`` says what is believed of it.

Evidence alone is kept, never the prior: two processes that read the same log hold the same numbers, whatever the order
in which agents were added. Observations count less as the log grows older; instead of shrinking every cell at every
event, each observation is added at ``2 ** ((its time - origin) / half_life)``, so that a correction takes back
exactly what was added, and the whole is scaled when it is read.

A new task type starts from the agent's rate on the other types, at a bounded mass: empirical-Bayes shrinkage. So does
one that made room, because ``MOST_KINDS`` others were heard of since; what was seen of it still lends to the others.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from math import sqrt
from typing import TYPE_CHECKING, Any

from router_sdk.numerics.change_detection import LEAST_VARIANCE, bernoulli_residual
from router_sdk.numerics.recency import crowded, put_last
from router_sdk.plugin import CorruptArtifactError
from router_sdk_thompson.drift.agent_evidence import AgentEvidence, checked_pair
from router_sdk_thompson.drift.detectors import new_detector, threshold_of
from router_sdk_thompson.labels import changes
from router_sdk_thompson.posteriors.beta import NOTHING, Tally, tally_of
from router_sdk_thompson.priors.tables import MOST_MASS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from router_sdk.plugin import Example, ExampleColumns
    from router_sdk_thompson.config import ThompsonConfig


FAR = 64.0
"""Half-lives between an event and the origin beyond which the origin moves."""

Cell = list[Any]
"""``[observations, reward, the agent's AgentEvidence]``, scaled to the origin."""


Records = list[tuple[float, float]]
"""Of each agent, observations and reward."""


class CellEvidence:
    """Forgetful counts per task type and agent.

    Args:
        config: The strategy's configuration: half-life, reading of labels, change detection.

    Attributes:
        events: Outcomes folded so far, revisions included.
        cells: Task type to agent to cell, the type heard of last at the end.
        by_agent: Agent to its evidence over all task types.
        origin: Log time to which what is stored is scaled, or None before the first event.
        latest: The log's present, in seconds since the epoch.
    """

    def __init__(self, config: ThompsonConfig) -> None:
        self.config = config
        self._rate = 0.0 if config.half_life_s is None else 1.0 / config.half_life_s
        self.cells: OrderedDict[str, dict[str, Cell]] = OrderedDict()
        self.by_agent: dict[str, AgentEvidence] = {}
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
            if task_type in cells:
                cells.move_to_end(task_type)
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
            record = cell[2]
            share = weight
            if record.changed_event >= 0:
                share *= record.weight(self.events, example.at, example.first_at)
            if threshold is not None:
                residual = bernoulli_residual(reward, self._expected(cell, record, share))
                if record.detector.update(residual, threshold):
                    self._change(agent_name, record, self.events, example.at, weight)
                    share = weight
            cell[0] += share
            record.mass += share
            cell[1] += reward * share
            record.reward += reward * share
        return touched

    def fold_columns(self, columns: ExampleColumns) -> set[str]:
        """``fold`` of a batch, to the last bit."""
        touched: set[str] = set()
        begin = 0
        for place, example in sorted(columns.others.items()):
            touched |= self._fold_plain(columns, begin, place) | self.fold([example])
            begin = place + 1
        return touched | self._fold_plain(columns, begin, len(columns))

    def fold_places(
        self, columns: ExampleColumns, begin: int, end: int, asked: Mapping[int, Sequence[str]]
    ) -> tuple[set[str], list[Records]]:
        """``fold``, to the last bit, from one place to another, where none says more than the columns.

        Args:
            columns: The batch.
            begin: The first place.
            end: The place behind the last one.
            asked: Places before which ``records`` are wanted, in order, and of whom.

        Returns:
            The task types that were touched, and the records that were asked for.
        """
        touched: set[str] = set()
        found: list[Records] = []
        for place, names in asked.items():
            touched |= self._fold_plain(columns, begin, place)
            begin = place
            found.append(self.records(columns.task_type[place], names))
        return touched | self._fold_plain(columns, begin, end), found

    def _fold_plain(self, columns: ExampleColumns, begin: int, end: int) -> set[str]:
        config, cells, rate = self.config, self.cells, self._rate
        if begin == end:
            return set()
        if config.change_detector == "adwin" or crowded(cells, columns.task_type[begin:end]):
            return self.fold(columns.examples[begin:end])
        threshold, prior_mass, prior_mean = threshold_of(config), config.prior_mass, config.prior_mean
        most_borrowed, events, weight = config.borrowed_mass, self.events, 1.0
        heard: dict[str, int] = {}
        origin, latest = self.origin, self.latest
        told = (column[begin:end] for column in (columns.agent, columns.task_type, columns.reward, columns.at))
        for agent, task_type, reward, at in zip(*told, strict=True):
            events += 1
            if reward is None:
                continue
            if rate:
                if origin is None or (exponent := (at - origin) * rate) > FAR:
                    weight, origin = self._weight(at, at), self.origin
                else:
                    weight = 2.0**exponent
                latest = at
            heard[task_type] = events
            if agent is None:
                continue
            try:
                cell = cells[task_type][agent]
            except KeyError:
                cell = self._cell(task_type, agent)
            mass, gain, record = cell
            share = weight
            if record.changed_event >= 0:
                share *= record.weight(events, at, at)
            if threshold is not None:
                # ``_expected`` and ``bernoulli_residual``, without the calls.
                held, lent = prior_mass * share, record.mass - mass
                mean = (prior_mean * held + record.reward - gain) / (held + lent)
                borrowed = most_borrowed * share
                if borrowed > lent:
                    borrowed = lent
                if borrowed > held:
                    held = borrowed
                expected = (mean * held + gain) / (held + mass)
                variance = expected * (1.0 - expected)
                residual = (reward - expected) / sqrt(variance if variance > LEAST_VARIANCE else LEAST_VARIANCE)
                if record.detector.update(residual, threshold):
                    self._change(agent, record, events, at, weight)
                    share = weight
            cell[0] += share
            record.mass += share
            cell[1] += reward * share
            record.reward += reward * share
        self.events, self.latest = events, max(self.latest, latest)
        for task_type in sorted(heard, key=heard.__getitem__):
            if task_type in cells:
                cells.move_to_end(task_type)
        return set(heard)

    def _expected(self, cell: Cell, record: AgentEvidence, unit: float) -> float:
        """Posterior mean before this outcome, in stored units; the stated prior is left to the policy."""
        config = self.config
        mass = config.prior_mass * unit
        lent = record.mass - cell[0]
        rate = (config.prior_mean * mass + record.reward - cell[1]) / (mass + lent)
        borrowed = config.borrowed_mass * unit
        if borrowed > lent:
            borrowed = lent
        if borrowed > mass:
            mass = borrowed
        expected: float = (rate * mass + cell[1]) / (mass + cell[0])
        return expected

    def _change(self, agent: str, record: AgentEvidence, event: int, at: float, unit: float) -> None:
        factor = record.change(event, at, unit)
        record.mass *= factor
        record.reward *= factor
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
        for record in self.by_agent.values():
            record.mass *= factor
            record.reward *= factor

    def _cell(self, task_type: str, agent: str) -> Cell:
        record = self.by_agent.get(agent)
        if record is None:
            record = self.by_agent[agent] = AgentEvidence(new_detector(self.config))
        row = self.cells.get(task_type)
        if row is None:
            row = {}
            put_last(self.cells, task_type, row)
        return row.setdefault(agent, [0.0, 0.0, record])

    def _add(self, example: Example, agent: str, mass: float, gain: float) -> None:
        cell = self._cell(example.task_type, agent)
        record = cell[2]
        share = record.weight(self.events, example.at, example.first_at)
        # What is taken back after a change has only about the weight at which it was added: no count may go below 0.
        cell[0] = max(cell[0] + mass * share, 0.0)
        cell[1] = min(max(cell[1] + gain * share, 0.0), cell[0])
        record.mass = max(record.mass + mass * share, 0.0)
        record.reward = min(max(record.reward + gain * share, 0.0), record.mass)

    def scale(self) -> float:
        """Share of what is stored that time has left at the log's present."""
        return 2.0 ** ((self.origin - self.latest) * self._rate) if self._rate and self.origin is not None else 1.0

    def tally(self, task_type: str, agents: Iterable[str]) -> list[tuple[Tally, Tally]]:
        """Per agent: the evidence on this task type, and on all the others."""
        row, overall = self.cells.get(task_type, {}), self.scale()
        found = []
        for agent in agents:
            record = self.by_agent.get(agent)
            if record is None:
                found.append((NOTHING, NOTHING))
                continue
            cell = row.get(agent)
            scale = overall * record.scale(self.events)
            mass, reward = (0.0, 0.0) if cell is None else (cell[0], cell[1])
            elsewhere = tally_of(record.mass - mass, record.reward - reward, scale)
            found.append((tally_of(mass, reward, scale), elsewhere))
        return found

    def records(self, task_type: str, agents: Iterable[str]) -> Records:
        """The first half of ``tally``, for a third of the time."""
        row, overall, by_agent, event = self.cells.get(task_type, {}), self.scale(), self.by_agent, self.events
        found = []
        for agent in agents:
            cell = row.get(agent)
            if cell is None:
                found.append((0.0, 0.0))
                continue
            scale = overall * by_agent[agent].scale(event)
            mass = cell[0] * scale
            mass = mass if mass > 0.0 else 0.0
            reward = cell[1] * scale
            found.append((mass, min(reward if reward > 0.0 else 0.0, mass)))
        return found

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self.by_agent.pop(name, None)
            for row in self.cells.values():
                row.pop(name, None)

    def prior_table(self, discount: float, most_mass: float) -> dict[str, dict[str, dict[str, float]]]:
        """A table for ``priors``: each observation is worth ``discount``, none of an agent more than ``most_mass``."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for task_type, row in sorted(self.cells.items()):
            names = sorted(row)
            for name, (here, _) in zip(names, self.tally(task_type, names), strict=True):
                if here.mass * discount > 0.0:
                    belief = {"rate": here.reward / here.mass, "mass": min(here.mass * discount, most_mass, MOST_MASS)}
                    table.setdefault(task_type, {})[name] = belief
        return table

    def save(self, path: Path) -> None:
        """Write the self."""
        rows = {kind: {name: cell[:2] for name, cell in row.items()} for kind, row in self.cells.items()}
        state = {
            "events": self.events,
            "origin": self.origin,
            "latest": None if self.latest == -math.inf else self.latest,
            "cells": rows,
            "standings": {name: record.state() for name, record in self.by_agent.items()},
        }
        path.write_text(json.dumps(state, allow_nan=False), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote; it stays as it was if it is not valid.

        Raises:
            CorruptArtifactError: if a count is negative or not finite, or the file cannot be read.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            records = {
                str(name): AgentEvidence.restored(each, self.config) for name, each in state["standings"].items()
            }
            cells: OrderedDict[str, dict[str, Cell]] = OrderedDict(
                (str(kind), {str(name): [*checked_pair(pair), records[name]] for name, pair in row.items()})
                for kind, row in state["cells"].items()
            )
            origin = None if state["origin"] is None else float(state["origin"])
            latest = -math.inf if state["latest"] is None else float(state["latest"])
            events = int(state["events"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CorruptArtifactError(f"evidence in {path.name} cannot be used: {error}") from error
        self.cells, self.by_agent = cells, records
        self.origin, self.latest, self.events = origin, latest, events

    def report(self) -> dict[str, Any]:
        """Totals and changes per agent at the log's present."""
        overall = self.scale()
        agents = {}
        for name, record in list(self.by_agent.items()):
            tally = tally_of(record.mass, record.reward, overall * record.scale(self.events))
            agents[name] = {**tally._asdict(), "changes": record.detector.alarms}
        changes = {name: told["changes"] for name, told in agents.items() if told["changes"]}
        return {"task_types": len(self.cells), "events": self.events, "agents": agents, "changes": changes}
