"""Which features run on: a number of a ticket, a time. What is always new says nothing of whether tasks are others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

BLOCK = 8
"""Values that are compared with as many before them."""
RISES, STAYS = 3, 8
"""Blocks in a row that rose, after which a feature runs on; and that did not, after which it does no more."""
MOST_FEATURES = 64
"""Features that are watched; beyond them the one makes room that was told longest ago."""


@dataclass(slots=True)
class _Feature:
    """A block that fills, the largest value of the one before, and blocks in a row that rose, or below 0 did not."""

    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    before: float | None = None
    streak: int = 0
    runs_on: bool = False

    def add(self, value: float) -> None:
        self.largest = value if self.count == 0 else max(self.largest, value)
        self.count, self.total = self.count + 1, self.total + value
        if self.count < BLOCK:
            return
        rose = self.before is not None and self.total / self.count > self.before
        self.streak = max(self.streak, 0) + 1 if rose else min(self.streak, 0) - 1
        self.runs_on = self.streak >= RISES or (self.runs_on and self.streak > -STAYS)
        self.count, self.total, self.before = 0, 0.0, self.largest


class RunningNumbers:
    """Follows each numeric feature: a block rose whose mean is above everything of the block before.

    Three times in a row is no chance: a step does it once, a flag never twice in a row, and of independent numbers
    (normal, uniform, of two or three values) it never did in four million blocks of a simulation.
    """

    def __init__(self) -> None:
        self._features: OrderedDict[int, _Feature] = OrderedDict()
        """By a hash of its name, which may be somebody's words."""

    def told(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Note a task's features, and return those that do not run on."""
        return {name: value for name, value in features.items() if not self._runs_on(name, value)}

    def _runs_on(self, name: str, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        key = crc32(name.encode())
        found = self._features.setdefault(key, _Feature())
        self._features.move_to_end(key)
        if len(self._features) > MOST_FEATURES:
            self._features.popitem(last=False)
        found.add(number)
        return found.runs_on

    def state(self) -> list[Any]:
        """What ``restored`` reads."""
        return [[key, asdict(one)] for key, one in self._features.items()]

    @classmethod
    def restored(cls, state: list[Any]) -> RunningNumbers:
        """Read back what ``state`` gave."""
        found = cls()
        found._features.update((key, _Feature(**told)) for key, told in state)
        return found
