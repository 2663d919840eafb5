"""How the agents do, and how the routing does: a fold over the log like any strategy's."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from router_sdk.learning.cells import Cells
from router_sdk.learning.figures import WINDOW, Running, Spending, figures_of, mean_of
from router_sdk.records.plain import told

if TYPE_CHECKING:
    from router_sdk.evaluation.savings import Cell
    from router_sdk.records import Example, ExampleColumns

PERFORMANCE = "performance"
"""Name of its fold; no strategy may have it."""
_PRIOR_MASS = 2.0
_LEAST_SPREAD = 1e-12


@dataclass(frozen=True, slots=True)
class AgentPerformance:
    """One agent's report. Means are None where nothing is known.

    Attributes:
        agent: Its name.
        rank: 1 for the best score.
        score: Mean reward of its last 100 executions, shrunk towards 1/2 by two pseudo-executions.
        executions: Distinct decisions with an outcome.
        lifetime: Mean ``reward, success, quality, latency_ms, cost_usd`` over all executions.
        last_100: The same over the newest hundred.
        ema: Exponential moving averages of the same.
        task_types: The same four by task type; under ``"types/other"`` of all that were not heard of for long.
        expected: What a strategy predicts for an average task: any of ``quality, latency_ms, cost_usd``.
    """

    agent: str
    rank: int
    score: float
    executions: int
    lifetime: dict[str, float | None]
    last_100: dict[str, float | None]
    ema: dict[str, float | None]
    task_types: dict[str, dict[str, Any]]
    expected: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


class Performance:
    """Folds examples into figures per agent and task type, and into totals. See ``Cells`` on how many types there are.

    One thread learns while any other may ask for a report.

    Attributes:
        spending: What each agent cost and took on average.
    """

    name = PERFORMANCE
    state_version = 6

    def __init__(self) -> None:
        self._cells = Cells()
        self._labels: Counter[str] = Counter()
        self._judged: list[float] = [0.0, 0.0, 0.0, 0.0, 0.0]
        """Examples, with feedback, with positive feedback, with quality, sum of quality."""
        self._processed = self._usable = 0
        self._rewards: OrderedDict[str, float] = OrderedDict()
        self.spending = Spending()
        self.lock = threading.RLock()

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()

    def learn(self, examples: Sequence[Example]) -> None:
        """Add new executions, and replace what corrected ones reported before."""
        with self.lock:
            self._learn(examples)

    def learn_columns(self, columns: ExampleColumns) -> None:
        """The same of a batch: what is heard for the first time is counted cell by cell, the rest as it comes."""
        with self.lock:
            if self._cells.crowded(columns.task_type):
                self._learn(columns.examples)
                return
            start = 0
            for place, example in (*columns.others.items(), (len(columns), None)):
                self._count(columns, start, place)
                if example is not None:
                    self._learn([example])
                start = place + 1

    def _count(self, columns: ExampleColumns, start: int, end: int) -> None:
        """Add the executions from one place up to another, of which the columns say all."""
        if start == end:
            return
        run = slice(start, end)
        ids, rewards, quality = columns.decision_id[run], columns.reward[run], columns.quality[run]
        decided = columns.decision_seq[run]
        passed = [None if said is None else float(said) for said in columns.success[run]]
        figures = list(zip(rewards, passed, quality, columns.latency_ms[run], columns.cost_usd[run], strict=True))
        lots: dict[tuple[str | None, str], list[int]] = {}
        for place, key in enumerate(zip(columns.agent[run], columns.task_type[run], strict=True)):
            lot = lots.get(key)
            if lot is None:
                lot = lots[key] = []
            lot.append(place)
        for (agent, task_type), lot in lots.items():
            cell = self._cells.of(agent or "", task_type, min([decided[place] for place in lot]))
            seqs = [columns.seq[start + place] for place in lot]
            cell.add_all([ids[place] for place in lot], seqs, [figures[place] for place in lot])
        self._cells.hear(columns.task_type[run])
        self.spending.note_all(columns.agent[run], figures)
        known = [(told, reward) for told, reward in zip(ids, rewards, strict=True) if reward is not None]
        self._usable += len(known)
        self._processed += len(ids)
        judged = self._judged
        judged[0] += len(ids)
        for score in quality:
            if score is not None:
                judged[3] += 1
                judged[4] += score
        self._rewards.update(known[-2 * WINDOW :])
        while len(self._rewards) > 2 * WINDOW:
            self._rewards.popitem(last=False)

    def _learn(self, examples: Sequence[Example]) -> None:
        cells, rewards = self._cells, self._rewards
        for example in examples:
            signals, previous, reward = example.signals, example.previous, example.reward
            agent, task_type = example.agent or "", example.task_type
            figures = figures_of(reward, signals)
            self._usable += reward is not None or signals.labelled
            if previous is None:
                cells.of(agent, task_type, example.decision_seq).add(example.decision_id, example.seq, figures)
                self.spending.note(agent, figures)
                self._judged[0] += 1
            else:
                self._usable -= example.previous_reward is not None or previous.labelled
                self._judge(previous, -1)
                before = figures_of(example.previous_reward, previous)
                cell = cells.holding(agent, task_type, example.decision_id, example.decision_seq)
                if example.withdrawn:
                    cell.withdraw(example.decision_id, before)
                    self.spending.note(agent, None, before)
                    self._judged[0] -= 1
                    rewards.pop(example.decision_id, None)
                    continue
                cell.correct(example.decision_id, figures, before)
                self.spending.note(agent, figures, before)
            self._processed += 1
            self._judge(signals, 1)
            if reward is None:
                rewards.pop(example.decision_id, None)
            elif example.previous_reward is None or example.decision_id in rewards:
                rewards[example.decision_id] = reward
                if len(rewards) > 2 * WINDOW:
                    rewards.popitem(last=False)

    def _judge(self, signals: Any, sign: int) -> None:
        _, quality, feedback, label, none_fits, *_ = signals
        if label is not None:
            self._labels[label] += sign
        elif none_fits:
            self._labels[""] += sign
        if feedback is not None:
            self._judged[1] += sign
            self._judged[2] += sign * (feedback > 0)
        if quality is not None:
            self._judged[3] += sign
            self._judged[4] += sign * quality

    # -- reports

    @property
    def usable(self) -> int:
        """Examples of which somebody said how they went: what a fit can learn from and be judged by."""
        return self._usable

    def score(self) -> float | None:
        """Mean reward of the last 100 outcomes, or None before the first."""
        with self.lock:
            newest = list(self._rewards.values())[-WINDOW:]
        return sum(newest) / len(newest) if newest else None

    def earned(self) -> dict[str, float]:
        """Mean reward of each agent over all its executions of which one is known."""
        totals: dict[str, tuple[float, int]] = {}
        with self.lock:
            for name, _, cell in self._cells:
                total, count = totals.get(name, (0.0, 0))
                totals[name] = total + cell.sums[0], count + cell.counts[0]
        return {name: total / count for name, (total, count) in totals.items() if name and count}

    def costs(self) -> dict[tuple[str, str], Cell]:
        """Rewards and costs over all executions, by agent and task type."""
        with self.lock:
            return {(agent, kind): cell.cell() for agent, kind, cell in self._cells}

    def improvement(self) -> tuple[float | None, float]:
        """Mean reward of the last 100 outcomes against the 100 before, less 1; and the difference in standard errors.

        None where there are no earlier ones; the second is Welch's statistic (1947), and 0 where nothing differs.
        """
        with self.lock:
            rewards = list(self._rewards.values())
        newest, before = rewards[-WINDOW:], rewards[:-WINDOW][-WINDOW:]
        if not before:
            return None, 0.0
        score, earlier = sum(newest) / len(newest), sum(before) / len(before)
        spread = sum((reward - score) ** 2 for reward in newest) / len(newest) ** 2
        spread += sum((reward - earlier) ** 2 for reward in before) / len(before) ** 2
        rate = (score - earlier) / earlier if earlier else None
        return rate, (score - earlier) / sqrt(max(spread, _LEAST_SPREAD))

    def statistics(self) -> dict[str, Any]:
        """Totals over all agents, see ``Router.statistics``."""
        with self.lock:
            total, with_feedback, positive, with_quality, quality = self._judged
            labels, score, (rate, _) = dict(self._labels), self.score(), self.improvement()
            silent = int(total) - self._usable
        return {
            "total_examples": int(total),
            "label_distribution": {name: count for name, count in labels.items() if name and count},
            "no_agent_fits": labels.get("", 0),
            "feedback_rate": with_feedback / total if total else 0.0,
            "avg_quality_score": quality / with_quality if with_quality else None,
            "positive_feedback_rate": positive / with_feedback if with_feedback else None,
            "current_model_score": score,
            "improvement_rate": rate,
            "samples_processed": self._processed,
            "taught_nothing": silent,
        }

    def agents(
        self,
        names: Collection[str],
        task_type: str | None = None,
        expected: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    ) -> list[AgentPerformance]:
        """Reports of these agents, best score first.

        Args:
            names: Whom to report on.
            task_type: Count this type only; None counts all.
            expected: What strategies predict of them, by name.
        """
        by_agent: dict[str, dict[str, Running]] = {name: {} for name in names}
        with self.lock:
            for name, kind, cell in self._cells:
                if name in by_agent and task_type in (None, kind):
                    by_agent[name][kind] = cell
            reports = [_report(name, cells) for name, cells in by_agent.items()]
        reports.sort(key=lambda report: (-report["score"], report["agent"]))
        return [
            AgentPerformance(rank=rank, expected=told(expected.get(report["agent"], {})), **report)
            for rank, report in enumerate(reports, start=1)
        ]

    # -- the fold's other duties

    def forget_agents(self, names: Collection[str]) -> None:
        """Start these agents' figures again."""
        with self.lock:
            self._cells.forget(names)
            self.spending.forget(names)

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Nothing to do: figures are no payload."""

    def save(self, folder: Path) -> None:
        """Write the figures as JSON."""
        state = {
            "cells": self._cells.state(),
            "labels": self._labels,
            "judged": self._judged,
            "counts": [self._processed, self._usable],
            "rewards": list(self._rewards.items()),
        }
        (folder / "performance.json").write_text(json.dumps(state, allow_nan=False))

    def load(self, folder: Path) -> None:
        """Inverse of ``save``."""
        state = json.loads((folder / "performance.json").read_text())
        with self.lock:
            self._cells = Cells.restored(state["cells"])
            self.spending.restore((name, cell) for name, _, cell in self._cells)
            self._labels = Counter(state["labels"])
            self._judged = state["judged"]
            self._processed, self._usable = state["counts"]
            self._rewards = OrderedDict(state["rewards"])

    def close(self) -> None:
        """Nothing is open."""


def _report(name: str, cells: dict[str, Running]) -> dict[str, Any]:
    whole = Running()
    newest: list[tuple[int, Any]] = []
    for cell in cells.values():
        whole.executions += cell.executions
        whole.sums = [a + b for a, b in zip(whole.sums, cell.sums, strict=True)]
        whole.counts = [a + b for a, b in zip(whole.counts, cell.counts, strict=True)]
        newest += cell.recent.values()
    newest = sorted(newest, key=lambda entry: entry[0])[-WINDOW:]
    rewards = [figures[0] for _, figures in newest if figures[0] is not None]
    return {
        "agent": name,
        "score": (sum(rewards) + _PRIOR_MASS / 2) / (len(rewards) + _PRIOR_MASS),
        "executions": whole.executions,
        "lifetime": whole.lifetime(),
        "last_100": mean_of(figures for _, figures in newest),
        "ema": _weighted(cells),
        "task_types": {
            kind: {
                "executions": cell.executions,
                "lifetime": cell.lifetime(),
                "last_100": mean_of(figures for _, figures in cell.recent.values()),
                "ema": cell.ema(),
            }
            for kind, cell in cells.items()
        },
    }


def _weighted(cells: dict[str, Running]) -> dict[str, float | None]:
    """An agent's moving averages: those of its task types, weighted by their share of the last executions."""
    totals: dict[str, tuple[float, int]] = {}
    for cell in cells.values():
        for figure, average in cell.ema().items():
            total, weight = totals.get(figure, (0.0, 0))
            if average is not None:
                total, weight = total + average * len(cell.recent), weight + len(cell.recent)
            totals[figure] = (total, weight)
    return {figure: total / weight if weight else None for figure, (total, weight) in totals.items()}
