"""Curves over the log: decisions that followed each other, what they came to by agent and type, and the regret."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, NamedTuple

POINTS = 64
"""Most points of a curve."""
_PRIOR_MASS = 2.0
_TWO_SIDED = 1.96


class Posterior(NamedTuple):
    """What an agent earns, as far as is known: the mean, and a 95 % range."""

    mean: float
    low: float
    high: float


@dataclass(slots=True)
class Cell:
    """What an agent came to on one type of task: sums, and over how many outcomes each goes."""

    outcomes: int = 0
    reward: float = 0.0
    rewarded: int = 0
    cost_usd: float = 0.0
    costed: int = 0
    latency_ms: float = 0.0
    timed: int = 0

    def count(self, figures: Sequence[float | None], sign: int) -> None:
        """Add (1) or take back (-1) one outcome's reward, cost and latency."""
        reward, cost_usd, latency_ms = figures
        self.outcomes += sign
        if reward is not None:
            self.reward, self.rewarded = self.reward + sign * reward, self.rewarded + sign
        if cost_usd is not None:
            self.cost_usd, self.costed = self.cost_usd + sign * cost_usd, self.costed + sign
        if latency_ms is not None:
            self.latency_ms, self.timed = self.latency_ms + sign * latency_ms, self.timed + sign

    def merge(self, other: Cell) -> None:
        """Add another one."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_dict(self) -> dict[str, Any]:
        """Means as JSON values; None where nothing is known. The reward's range is that of its posterior, 95 %."""
        mean, low, high = posterior(self.reward, self.rewarded)
        return {
            "outcomes": self.outcomes,
            "rewarded": self.rewarded,
            "reward": _over(self.reward, self.rewarded),
            "posterior": mean,
            "low": low,
            "high": high,
            "cost_usd": _over(self.cost_usd, self.costed),
            "latency_ms": _over(self.latency_ms, self.timed),
        }


def posterior(total: float, count: int) -> Posterior:
    """Mean and 95 % range of what an agent earns, from so many rewards in [0, 1] and two pseudo-rewards of 1/2.

    The posterior is a Beta whose mass is that of the rewards, its range the normal approximation within [0, 1].
    """
    mass = count + _PRIOR_MASS
    mean = (total + _PRIOR_MASS / 2.0) / mass
    half = _TWO_SIDED * sqrt(max(mean * (1.0 - mean), 0.0) / (mass + 1.0))
    return Posterior(mean, max(mean - half, 0.0), min(mean + half, 1.0))


@dataclass(slots=True)
class Span:
    """Decisions that followed each other, and what came of them."""

    start: int
    at: float = 0.0
    decisions: int = 0
    explored: int = 0
    agents: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    versions: Counter[tuple[str, int]] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def merge(self, later: Span) -> None:
        """Add the span that follows."""
        self.at = later.at
        self.decisions, self.explored = self.decisions + later.decisions, self.explored + later.explored
        for mine, theirs in zip(
            (self.agents, self.strategies, self.arms), (later.agents, later.strategies, later.arms), strict=True
        ):
            mine.update(theirs)
        self.versions.update(later.versions)
        for key, cell in later.cells.items():
            self.cells.setdefault(key, Cell()).merge(cell)

    def names(self, place: int) -> list[str]:
        """Agents (0) or types of task (1), those with the most outcomes first."""
        counts: Counter[str] = Counter()
        for key, cell in self.cells.items():
            counts[key[place]] += cell.outcomes
        return [name for name, _ in counts.most_common()]

    def of(self, agent: str | None = None, kind: str | None = None) -> Cell:
        """An agent's or a type's figures, of one of the other or of all."""
        total = Cell()
        for (name, of), cell in self.cells.items():
            if agent in (None, name) and kind in (None, of):
                total.merge(cell)
        return total

    def best(self, kind: str) -> dict[str, Any]:
        """Who earns most on a type of task, by posterior means, and how much."""
        means = {
            agent: posterior(cell.reward, cell.rewarded).mean
            for (agent, of), cell in self.cells.items()
            if of == kind and agent and cell.rewarded
        }
        best = max(means, key=lambda agent: means[agent], default=None)
        return {"best": best, "best_mean": None if best is None else means[best]}

    def regrets(self) -> dict[tuple[str | None, str | None], float]:
        """Per task, how much less was earned than the best agent's posterior mean on tasks of the type.

        It is negative where the router does better than any single agent does on the tasks that it is given.

        Returns:
            By agent, by type of task, and of all, with None in the place of what does not matter.
        """
        sums: dict[tuple[str | None, str | None], tuple[float, int]] = {}
        bests = {kind: self.best(kind)["best_mean"] for kind in self.names(1)}
        for (agent, kind), cell in self.cells.items():
            if bests[kind] is None:
                continue
            missing = cell.rewarded * bests[kind] - cell.reward
            for key in ((None, None), (agent, None), (None, kind)):
                total, count = sums.get(key, (0.0, 0))
                sums[key] = total + missing, count + cell.rewarded
        return {key: total / count for key, (total, count) in sums.items() if count}

    def to_dict(self) -> dict[str, Any]:
        """The span as JSON values; of ``versions`` those of each strategy."""
        versions: dict[str, dict[str, int]] = {}
        for (strategy, version), count in sorted(self.versions.items()):
            versions.setdefault(strategy, {})[str(version)] = count
        return {
            "at": self.at,
            "decisions": self.decisions,
            "explored": self.explored,
            "agents": dict(self.agents),
            "strategies": dict(self.strategies),
            "versions": versions,
            "arms": dict(self.arms),
            **self.of().to_dict(),
        }


class Curve:
    """Spans of equally many decisions each, at most so many of them.

    Args:
        width: Decisions in a span.
        grows: Whether spans are merged in pairs when there are too many; else the oldest is dropped.
    """

    def __init__(self, width: int, *, grows: bool) -> None:
        self._width, self._grows = width, grows
        self.spans: list[Span] = []
        self._starts: list[int] = []

    def current(self, seq: int) -> Span:
        """The span that the next decision, at this position, belongs to."""
        if not self.spans or self.spans[-1].decisions >= self._width:
            if len(self.spans) >= POINTS:
                self._make_room()
            if not self.spans or self.spans[-1].decisions >= self._width:
                self.spans.append(Span(seq))
                self._starts.append(seq)
        return self.spans[-1]

    def _make_room(self) -> None:
        if not self._grows:
            del self.spans[0], self._starts[0]
            return
        self._width *= 2
        for first, second in zip(self.spans[::2], self.spans[1::2], strict=True):
            first.merge(second)
        del self.spans[1::2], self._starts[1::2]

    def of(self, decision_seq: int) -> Span | None:
        """The span of a decision that was counted, or None."""
        place = bisect_right(self._starts, decision_seq) - 1
        return self.spans[place] if place >= 0 else None


def _over(total: float, count: int) -> float | None:
    return total / count if count else None
