"""Running figures of each agent on each task type, of as many types as anything is kept of; of the others together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from router_sdk.learning.figures import Running
from router_sdk.numerics import recency

OTHERS = "types/other"
"""Stands for the task types that were not heard of for long; no task's type may hold a slash."""


class Cells:
    """The figures by task type and agent, the type heard of last at the end.

    A type that makes room goes into ``OTHERS``, so that an agent's totals hold all that it ever did.
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[str, dict[str, Running]] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[str, str, Running]]:
        """Agent, task type, and the figures."""
        return ((agent, kind, cell) for kind, row in self._kinds.items() for agent, cell in row.items())

    def crowded(self, kinds: Iterable[str]) -> bool:
        """Whether a type would have to make room while all of these are heard."""
        return recency.crowded(self._kinds, kinds)

    def hear(self, kinds: Sequence[str]) -> None:
        """These were heard, in this order; all are there."""
        for kind in recency.in_order(kinds):
            self._kinds.move_to_end(kind)

    def of(self, agent: str, kind: str, decision_seq: int) -> Running:
        """The figures of an agent on a type that is heard now, of a decision at that position or none before it."""
        row = self._kinds.get(kind)
        if row is None:
            row = self._kinds[kind] = {}
            self._make_room()
        self._kinds.move_to_end(kind)
        cell = row.get(agent)
        if cell is None:
            cell = row[agent] = Running()
        cell.since = min(cell.since, decision_seq)
        return cell

    def holding(self, agent: str, kind: str, decision_id: str, decision_seq: int) -> Running:
        """The figures that hold an execution which was heard of before.

        A type that made room and came back does not hold what was decided before all that it holds.
        """
        cell, others = self._kinds.get(kind, {}).get(agent), self._kinds.get(OTHERS, {}).get(agent)
        gone = cell is None or (
            decision_id not in cell.recent and (cell.executions <= len(cell.recent) or decision_seq < cell.since)
        )
        return others if gone and others is not None else self.of(agent, kind, decision_seq)

    def _make_room(self) -> None:
        while len(self._kinds) > recency.MOST_KINDS:
            gone = next(kind for kind in self._kinds if kind != OTHERS)
            left, others = self._kinds.pop(gone), self._kinds.setdefault(OTHERS, {})
            for agent, cell in left.items():
                others.setdefault(agent, Running()).absorb(cell)

    def forget(self, agents: Collection[str]) -> None:
        """Start these agents' figures again."""
        for row in self._kinds.values():
            for agent in row.keys() & set(agents):
                del row[agent]

    def state(self) -> list[Any]:
        """All that ``restored`` needs, as JSON values."""
        return [[kind, {agent: cell.to_json() for agent, cell in row.items()}] for kind, row in self._kinds.items()]

    @classmethod
    def restored(cls, state: Iterable[Any]) -> Cells:
        """Inverse of ``state``."""
        found = cls()
        for kind, row in state:
            found._kinds[kind] = {agent: Running.from_json(cell) for agent, cell in row.items()}
        return found
