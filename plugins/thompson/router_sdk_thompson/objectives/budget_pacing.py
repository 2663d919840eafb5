"""Keeps one budget: a multiplier steers, and what the budget no longer holds is not asked for.

The multiplier rises while more is spent than planned and falls while less is (primal-dual: Agrawal and Devanur,
2014), so that what is dear is bought where it is worth most. It only follows what was spent; so there is a purse
beside it, from which an agent must be affordable, and which makes the budget hold from the start.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

STEP = 0.02
HIGHEST = 50.0
ADVANCE = 5.0
"""Tasks' worth of an average budget that may be spent ahead, so that dear agents can be tried at all."""
RESERVE = 0.005
"""Share of a budget that is kept back for outcomes which are not known yet when the next task is routed."""
STEEPEST = 4.0
"""Shares beyond its own that one outcome's spending counts for at most, so that a burst is soon forgotten."""
PACE = 0.05
"""Share of the newest gap between outcomes in the running mean of gaps."""


class Budget(NamedTuple):
    """A budget.

    Attributes:
        amount: What may be spent: per task where there is no window, else in each window.
        tasks: Outcomes in a window, or None.
        seconds: Log time in a window, in seconds, or None.
    """

    amount: float
    tasks: int | None = None
    seconds: float | None = None


class BudgetPacer:
    """What was spent of one budget.

    Args:
        budget: The budget.

    Attributes:
        multiplier: Price of a task's share of the budget, in units of utility.
    """

    __slots__ = ("_count", "_gap", "_latest", "_purse", "_window", "budget", "multiplier")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.multiplier = 0.0
        self._purse = (1.0 - RESERVE) * budget.amount * (ADVANCE if self._averages else 1.0)
        self._count = 0
        self._window: int | None = None
        self._latest: float | None = None
        self._gap = 0.0

    @property
    def _averages(self) -> bool:
        return self.budget.tasks is None and self.budget.seconds is None

    @property
    def share(self) -> float:
        """What a task may spend if all spend alike."""
        amount, tasks, seconds = self.budget
        if tasks is not None:
            return amount / tasks
        if seconds is not None:
            # At least one task fits into a window, however rarely tasks come.
            return amount * min(max(self._gap, 1e-9 * seconds), seconds) / seconds
        return amount

    @property
    def room(self) -> float:
        """Price of the dearest agent that may be asked next."""
        return self._purse + ((1.0 - RESERVE) * self.budget.amount if self._averages else 0.0)

    def charge(self, spent: float, at: float) -> None:
        """Take in what one outcome cost, at its time in the log."""
        budget, tasks, seconds = self.budget
        if tasks is not None:
            self._enter(self._count // tasks)
        elif seconds is not None:
            self._enter(math.floor(at / seconds))
            self._measure(at)
        else:
            self._purse += (1.0 - RESERVE) * budget
        self._count += 1
        self._purse -= spent
        if seconds is None or self._gap:
            risen = self.multiplier + STEP * min(spent / self.share - 1.0, STEEPEST)
            self.multiplier = min(max(risen, 0.0), HIGHEST)
        if tasks is not None:
            self._enter(self._count // tasks)

    def correct(self, difference: float) -> None:
        """Take in that an earlier outcome cost so much more, or less."""
        self._purse -= difference

    def _enter(self, window: int) -> None:
        if self._window is None:
            self._window = window
        passed = window - self._window
        if passed > 0:
            # A debt is paid off by each window that has passed; what was left over is gone.
            filled = (1.0 - RESERVE) * self.budget.amount
            owed = min(min(self._purse, 0.0) + filled * (passed - 1), 0.0)
            self._purse, self._window = owed + filled, window

    def _measure(self, at: float) -> None:
        if self._latest is not None:
            gap = max(at - self._latest, 0.0)
            self._gap = gap if not self._gap else self._gap + PACE * (gap - self._gap)
        self._latest = at if self._latest is None else max(at, self._latest)

    def state(self) -> dict[str, Any]:
        """What ``restored`` reads."""
        numbers = [self.multiplier, self._purse, self._count, self._gap]
        return {"limit": self.budget, "numbers": numbers, "window": self._window, "latest": self._latest}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> BudgetPacer:
        """Read back what ``state`` gave.

        Raises:
            ValueError: if a number is not finite.
        """
        amount, tasks, seconds = state["limit"]
        pacer = cls(Budget(float(amount), None if tasks is None else int(tasks), seconds))
        multiplier, purse, count, gap = (float(number) for number in state["numbers"])
        if not all(math.isfinite(number) for number in (multiplier, purse, count, gap)) or multiplier < 0.0:
            raise ValueError("a budget's account must be finite")
        pacer.multiplier, pacer._purse, pacer._count, pacer._gap = multiplier, purse, int(count), gap
        pacer._window = None if state["window"] is None else int(state["window"])
        pacer._latest = None if state["latest"] is None else float(state["latest"])
        return pacer
