"""What was spent against what a baseline would have spent on the same tasks, and what quality came with each.

What a baseline would have spent is not in the log: of each kind of task its own executions say what one costs it, and
that is taken for the executions of others. The interval says how uncertain the sum is: by the mean, known from so many
executions, and by the executions that did not take place. Within one kind of task the router may have given a baseline
the cheaper ones; that no interval shows, and an experiment settles.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from router_sdk.evaluation.intervals import student_t
from router_sdk.spelling import counted

LEAST = 5
"""Executions of a kind of task from which on a baseline's cost of it counts as known."""
_COVERED = 0.5
"""Share of the executions of which a baseline's cost or reward must be known for it to be one."""

_CENT = 0.01
_ROUNDING = 1e-12
"""Sums of costs that differ by less, as a share of them, are the same sum, added up in another order."""

Interval = tuple[float, float]


class Moments(NamedTuple):
    """Of some numbers: how many, their sum, and that of their squares."""

    size: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Their mean; there must be one."""
        return self.total / self.size

    @property
    def variance(self) -> float:
        """Their variance, without bias; there must be two."""
        return max(self.squares - self.total * self.total / self.size, 0.0) / (self.size - 1)

    def plus(self, other: Moments) -> Moments:
        """Of both together."""
        return Moments(self.size + other.size, self.total + other.total, self.squares + other.squares)


class Cell(NamedTuple):
    """The executions of one agent on one kind of task.

    Attributes:
        executions: How many.
        reward: Of those whose reward is known.
        cost_usd: Of those whose cost is known, in US dollars.
    """

    executions: int = 0
    reward: Moments = Moments()
    cost_usd: Moments = Moments()

    def plus(self, other: Cell) -> Cell:
        """Both together."""
        return Cell(
            self.executions + other.executions, self.reward.plus(other.reward), self.cost_usd.plus(other.cost_usd)
        )


Cells = Mapping[tuple[str, str], Cell]
"""By agent and kind of task."""


@dataclass(frozen=True, slots=True)
class Savings:
    """What was spent against a baseline. Where nothing can be said, numbers are None and ``words`` says why.

    Attributes:
        baseline: What was asked for.
        agent: Which agent that is; None for a version.
        compared: Executions that stand in the figures: their cost is known, and so is the baseline's of their kind.
        spent_usd: What these cost.
        baseline_usd: What the baseline would have spent on them.
        saved_usd: The difference; negative where more was spent.
        saved_usd_interval: Its 95 % interval.
        saved_share: Of what the baseline would have spent; None where that is nothing.
        unknown: Executions whose cost nobody reported; they are in no figure.
        incomparable: Executions of kinds of tasks of which the baseline's cost is not known.
        reward: Mean reward of the executions whose kind can be compared.
        baseline_reward: What the baseline would have earned on them.
        reward_difference_interval: 95 % interval of the difference, ours less theirs.
        words: In a sentence.
    """

    baseline: str
    agent: str | None
    compared: int
    spent_usd: float | None
    baseline_usd: float | None
    saved_usd: float | None
    saved_usd_interval: Interval | None
    saved_share: float | None
    unknown: int
    incomparable: int
    reward: float | None
    baseline_reward: float | None
    reward_difference_interval: Interval | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)


def best_single(cells: Cells) -> str | None:
    """The agent that earns most on the tasks as they came; of equal ones the cheaper."""
    candidates = [
        (agent, _on_the_mix(cells, agent, "reward"), _on_the_mix(cells, agent, "cost_usd")) for agent in _names(cells)
    ]
    known = [(reward, -cost, agent) for agent, reward, cost in candidates if reward is not None and cost is not None]
    return max(known)[2] if known else None


def dearest(cells: Cells) -> str | None:
    """The agent that costs most on the tasks as they came."""
    known = [(cost, agent) for agent in _names(cells) if (cost := _on_the_mix(cells, agent, "cost_usd")) is not None]
    return max(known)[1] if known else None


def _names(cells: Cells) -> list[str]:
    return sorted({agent for agent, _ in cells if agent})


def _on_the_mix(cells: Cells, agent: str, figure: str) -> float | None:
    """An agent's mean of a figure, had it got the tasks of all; None where too little is known of it."""
    known = total = everything = 0.0
    for (_, kind), cell in cells.items():
        everything += cell.executions
        own: Moments = getattr(cells.get((agent, kind), Cell()), figure)
        if own.size >= LEAST:
            known += cell.executions
            total += cell.executions * own.mean
    return total / known if known and known >= _COVERED * everything else None


def against(baseline: str, agent: str | None, actual: Cells, theirs: Cells) -> Savings:
    """What was spent on some executions, against what a baseline would have.

    Args:
        baseline: What it is called.
        agent: Whose own executions among them are as they would have been; None has none.
        actual: The executions.
        theirs: Those that say what the baseline costs and earns; all of its own.
    """
    known: dict[str, Cell] = defaultdict(Cell)
    for (_, kind), cell in theirs.items():
        known[kind] = known[kind].plus(cell)
    cost, reward = _Sum(), _Sum()
    unknown = incomparable = 0
    for (who, kind), cell in actual.items():
        unknown += cell.executions - cell.cost_usd.size
        own = agent is not None and who == agent
        if not cost.add(kind, cell.cost_usd, known[kind].cost_usd, own=own):
            incomparable += cell.cost_usd.size
        reward.add(kind, cell.reward, known[kind].reward, own=own)
    if not cost.count:
        why = _why_not(agent, unknown, incomparable)
        return Savings(baseline, agent, 0, None, None, None, None, None, unknown, incomparable, None, None, None, why)
    saved, half = cost.theirs - cost.ours, cost.half_width(settled=True)
    if math.isclose(cost.theirs, cost.ours, rel_tol=_ROUNDING):
        saved = 0.0
    earned: tuple[float | None, float | None, Interval | None] = (None, None, None)
    if reward.count:
        gain, width = (reward.ours - reward.theirs) / reward.count, reward.half_width(settled=False) / reward.count
        earned = (reward.ours / reward.count, reward.theirs / reward.count, (gain - width, gain + width))
    share = saved / cost.theirs if cost.theirs > 0.0 else None
    numbers = (cost.count, cost.ours, cost.theirs, saved, (saved - half, saved + half), share, unknown, incomparable)
    return Savings(baseline, agent, *numbers, *earned, _words(cost.ours, saved, half, share, agent or baseline))


class _Sum:
    """A figure of executions, and what it would have been; with how uncertain that is."""

    def __init__(self) -> None:
        self.count, self.ours, self.theirs = 0, 0.0, 0.0
        self._others: dict[str, Moments] = {}
        self._known: dict[str, Moments] = {}

    def add(self, kind: str, ours: Moments, theirs: Moments, *, own: bool) -> bool:
        """Add executions of a kind; False where nothing is known of the baseline's."""
        if own:
            self.theirs += ours.total
        elif theirs.size < LEAST:
            return not ours.size
        else:
            self.theirs += ours.size * theirs.mean
            self._others[kind] = self._others.get(kind, Moments()).plus(ours)
            self._known[kind] = theirs
        self.count += ours.size
        self.ours += ours.total
        return True

    def half_width(self, *, settled: bool) -> float:
        """Half of the 95 % interval of the difference of the sums.

        Where what happened is settled, the sum of what would have happened is what varies, its executions among it;
        else means are compared, of both sides.
        """
        variance, freedom = 0.0, 0.0
        for kind, others in self._others.items():
            known, n = self._known[kind], others.size
            of_mean = n * n * known.variance / known.size
            if settled:
                variance += of_mean + n * known.variance
            else:
                variance += of_mean + (n * others.variance if n > 1 else 0.0)
            freedom += of_mean * of_mean / (known.size - 1)
        if variance == 0.0:
            return 0.0
        degrees = math.inf if freedom == 0.0 else variance * variance / freedom  # Satterthwaite, 1946
        return student_t(int(min(max(degrees, 1.0), 1e6))) * math.sqrt(variance)


def _why_not(agent: str | None, unknown: int, incomparable: int) -> str:
    if incomparable:
        return f"too little is known of what {agent or 'the baseline'} costs on the tasks that others did"
    if unknown:
        return f"nobody reported what {counted(unknown, 'execution')} cost; report cost_usd with outcomes"
    return "nothing was recorded yet"


def _words(spent: float, saved: float, half: float, share: float | None, name: str) -> str:
    if saved == 0.0 and half < _CENT / 2:
        return f"${spent:,.2f} were spent, as much as {name} would have spent"
    more = "less" if saved >= 0.0 else "more"
    by = "" if not share else f", {abs(share):.0%} {more}"
    sure = "" if abs(saved) > half else "; which of the two is cheaper is not certain"
    interval = f" ± {half:,.2f}" if half >= _CENT / 2 else ""
    return f"${spent:,.2f} were spent where {name} would have spent ${spent + saved:,.2f}{interval}{by}{sure}"


def cells_of(executions: Iterable[tuple[str, str, float | None, float | None]]) -> dict[tuple[str, str], Cell]:
    """Cells of executions: of each its agent, its kind of task, its reward and its cost in US dollars, if known."""
    found: dict[tuple[str, str], Cell] = {}
    for agent, kind, reward, cost_usd in executions:
        one = Cell(1, _moments(reward), _moments(cost_usd))
        found[agent, kind] = found.get((agent, kind), Cell()).plus(one)
    return found


def _moments(value: float | None) -> Moments:
    return Moments() if value is None else Moments(1, value, value * value)
