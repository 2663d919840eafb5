"""What each agent cost and took on average; requests read it without a lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.learning.windows import FIGURES

if TYPE_CHECKING:
    from router_sdk.learning.windows import Figures, Running

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
