"""Running figures of an agent: on one task type (sums, the last hundred, a moving average), and what it costs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.evaluation.savings import Cell, Moments

if TYPE_CHECKING:
    from router_sdk.records import Signals

FIGURES = ("reward", "success", "quality", "latency_ms", "cost_usd")
"""What is tracked; None in a place means that it is not known of that execution."""

WINDOW = 100
SMOOTHING = 0.05
"""Weight of the newest execution in the exponential moving average."""

NOWHERE = 2**62
"""A position that no log reaches."""

Figures = tuple[float | None, ...]

_REWARD, _COST = FIGURES.index("reward"), FIGURES.index("cost_usd")


def figures_of(reward: float | None, signals: Signals) -> Figures:
    """The figures of one execution, in the order of ``FIGURES``."""
    success = signals.success
    return (
        reward,
        None if success is None else float(success),
        signals.quality,
        signals.latency_ms,
        signals.cost_usd,
    )


@dataclass(slots=True)
class Running:
    """Figures of many executions; what is corrected stands where its old value stood, as if it had been so at once.

    Attributes:
        executions: Distinct decisions with an outcome.
        sums: Lifetime sum per figure.
        counts: How many executions know the figure.
        squares: Lifetime sums of the squares of rewards and of costs.
        older: Exponential moving average per figure, of what is no more among the newest executions.
        recent: The newest executions by decision id, with their log position.
        since: Position of the earliest decision among all that were counted.
    """

    executions: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(FIGURES))
    counts: list[int] = field(default_factory=lambda: [0] * len(FIGURES))
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0])
    older: list[float | None] = field(default_factory=lambda: [None] * len(FIGURES))
    recent: OrderedDict[str, tuple[int, Figures]] = field(default_factory=OrderedDict)
    since: int = NOWHERE

    def add(self, decision_id: str, seq: int, figures: Figures) -> None:
        """Count a new execution."""
        self.executions += 1
        sums, counts = self.sums, self.counts
        for i, value in enumerate(figures):
            if value is not None:
                sums[i] += value
                counts[i] += 1
        self._square(figures, 1.0)
        recent = self.recent
        recent[decision_id] = (seq, figures)
        if len(recent) > WINDOW:
            _, (_, oldest) = recent.popitem(last=False)
            _move(self.older, oldest)

    def add_all(self, decision_ids: Sequence[str], seqs: Sequence[int], figures: Sequence[Figures]) -> None:
        """Count new executions, in their order, as if each had come alone."""
        self.executions += len(figures)
        sums, counts, recent = self.sums, self.counts, self.recent
        for i, column in enumerate(zip(*figures, strict=True)):
            known = [value for value in column if value is not None]
            total = sums[i]
            for value in known:
                total += value
            sums[i], counts[i] = total, counts[i] + len(known)
            if i in (_REWARD, _COST):
                total = self.squares[i == _COST]
                for value in known:
                    total += value * value
                self.squares[i == _COST] = total
        recent.update(zip(decision_ids, zip(seqs, figures, strict=True), strict=True))
        gone = [recent.popitem(last=False)[1][1] for _ in range(len(recent) - WINDOW)]
        for i, column in enumerate(zip(*gone, strict=True)):
            average = self.older[i]
            for value in column:
                if value is not None:
                    average = value if average is None else average + SMOOTHING * (value - average)
            self.older[i] = average

    def correct(self, decision_id: str, figures: Figures, previous: Figures) -> None:
        """Replace what an execution reported before."""
        for i, (new, old) in enumerate(zip(figures, previous, strict=True)):
            if old is not None:
                self.sums[i] -= old
                self.counts[i] -= 1
            if new is not None:
                self.sums[i] += new
                self.counts[i] += 1
        self._square(previous, -1.0)
        self._square(figures, 1.0)
        if decision_id in self.recent:
            self.recent[decision_id] = (self.recent[decision_id][0], figures)

    def withdraw(self, decision_id: str, previous: Figures) -> None:
        """Take back an execution that turned out to be somebody else's."""
        self.executions -= 1
        for i, old in enumerate(previous):
            if old is not None:
                self.sums[i] -= old
                self.counts[i] -= 1
        self._square(previous, -1.0)
        self.recent.pop(decision_id, None)

    def absorb(self, other: Running) -> None:
        """Count what another one counted, too."""
        self.executions += other.executions
        self.sums = [mine + its for mine, its in zip(self.sums, other.sums, strict=True)]
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.squares = [mine + its for mine, its in zip(self.squares, other.squares, strict=True)]
        self.older = [its if mine is None else mine for mine, its in zip(self.older, other.older, strict=True)]
        newest = sorted([*self.recent.items(), *other.recent.items()], key=lambda entry: entry[1][0])
        for _, (_, figures) in newest[:-WINDOW]:
            _move(self.older, figures)
        self.recent = OrderedDict(newest[-WINDOW:])
        self.since = min(self.since, other.since)

    def _square(self, figures: Figures, sign: float) -> None:
        for place, value in enumerate((figures[_REWARD], figures[_COST])):
            if value is not None:
                self.squares[place] += sign * (value * value)

    def cell(self) -> Cell:
        """How often it was executed, and what rewards and costs were."""
        reward, cost = (Moments(self.counts[i], self.sums[i], self.squares[i == _COST]) for i in (_REWARD, _COST))
        return Cell(self.executions, reward, cost)

    def lifetime(self) -> dict[str, float | None]:
        """Mean per figure over all executions."""
        return {
            name: total / count if count else None
            for name, total, count in zip(FIGURES, self.sums, self.counts, strict=True)
        }

    def ema(self) -> dict[str, float | None]:
        """Exponential moving average per figure, in the order of the executions.

        A correction of one that is no more among the newest does not move it; it counts for less than a hundredth.
        """
        averages = list(self.older)
        for _, figures in self.recent.values():
            _move(averages, figures)
        return dict(zip(FIGURES, averages, strict=True))

    def to_json(self) -> list[Any]:
        """State as JSON values."""
        recent = [[decision_id, seq, figures] for decision_id, (seq, figures) in self.recent.items()]
        return [self.executions, self.sums, self.counts, self.squares, self.older, recent, self.since]

    @classmethod
    def from_json(cls, state: list[Any]) -> Running:
        """Inverse of ``to_json``."""
        executions, sums, counts, squares, older, recent, since = state
        newest = OrderedDict((decision_id, (seq, tuple(figures))) for decision_id, seq, figures in recent)
        return cls(executions, sums, counts, squares, older, newest, since)


def _move(averages: list[float | None], figures: Figures) -> None:
    """Move exponential moving averages on by one execution."""
    for i, value in enumerate(figures):
        if value is not None:
            average = averages[i]
            averages[i] = value if average is None else average + SMOOTHING * (value - average)


def mean_of(executions: Iterable[Figures]) -> dict[str, float | None]:
    """Mean per figure over some executions, each figure over those that know it."""
    columns = list(zip(*executions, strict=True)) or [()] * len(FIGURES)
    known = [[value for value in column if value is not None] for column in columns]
    return {name: sum(values) / len(values) if values else None for name, values in zip(FIGURES, known, strict=True)}


_PLACES = {"cost_usd": FIGURES.index("cost_usd"), "latency_ms": FIGURES.index("latency_ms")}


class _Sum(NamedTuple):
    total: float = 0.0
    reports: int = 0


class Spending:
    """Lifetime means of ``cost_usd`` and ``latency_ms`` by agent, corrections taken into account.

    One thread notes while any other reads: a sum and its count change together, by one assignment.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sum] = {}

    def mean(self, agent: str, figure: str) -> float | None:
        """What an agent was measured at, in the figure's own unit; None where no outcome told."""
        total, count = self._sums.get((agent, figure), _NOTHING)
        return total / count if count else None

    def note(self, agent: str, new: Figures | None, old: Figures | None = None) -> None:
        """Count what an execution reported, in the place of what it reported before."""
        for figure, place in _PLACES.items():
            told, before = None if new is None else new[place], None if old is None else old[place]
            if told == before:
                continue
            total, count = self._sums.get((agent, figure), _NOTHING)
            total += (0.0 if told is None else told) - (0.0 if before is None else before)
            count += (told is not None) - (before is not None)
            self._sums[agent, figure] = _Sum(total, count) if count else _NOTHING

    def note_all(self, agents: Sequence[str | None], figures: Sequence[Figures]) -> None:
        """Count what new executions reported, in their order, each with its agent."""
        for figure, place in _PLACES.items():
            sums: dict[str | None, tuple[float, int]] = {}
            for agent, told in zip(agents, figures, strict=True):
                value = told[place]
                if value is not None:
                    total, count = sums.get(agent) or self._sums.get((agent or "", figure), _NOTHING)
                    sums[agent] = total + value, count + 1
            for agent, (total, count) in sums.items():
                self._sums[agent or "", figure] = _Sum(total, count)

    def forget(self, agents: Collection[str]) -> None:
        """Start these agents' figures again."""
        self._sums = {key: found for key, found in self._sums.items() if key[0] not in agents}

    def restore(self, cells: Iterable[tuple[str, Running]]) -> None:
        """Take over the lifetime sums of these agents, one cell for each task type of each."""
        sums: dict[tuple[str, str], _Sum] = {}
        for agent, cell in cells:
            for figure, place in _PLACES.items():
                total, count = sums.get((agent, figure), _NOTHING)
                sums[agent, figure] = _Sum(total + cell.sums[place], count + cell.counts[place])
        self._sums = sums


_NOTHING = _Sum()
