"""Evidence that fades: with the log's time, and after a change of its agent.

With time, what is older counts less, in steps, whatever the batches were. And an agent that changed once may change
again, also while it gets no traffic: after a change its evidence fades with every outcome of the log, quickly at first
and ever more slowly as it stays quiet: by ``2 ** -fading(x)`` after ``x`` outcomes, with a half-life of ``VOLATILE``
outcomes that grows to ``x / CALM``. That is what brings an agent that recovered back into play; the cost of asking
falls off as ``1 / x``.
"""

from __future__ import annotations

from math import floor, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


CLOCK_STEPS = 8
"""Steps in a half-life of log time."""
CHANGE_STEPS = 2
"""Steps in a half-life after a change."""
VOLATILE = 150.0
CALM = 4.0
KEPT = 10.0
"""Observations that an agent's record is worth after a change."""


def fading(outcomes: float) -> float:
    """Half-lives that pass within so many outcomes after a change."""
    quick = VOLATILE * CALM
    if outcomes <= quick:
        return max(outcomes, 0.0) / VOLATILE
    return CALM + CALM * log(outcomes / quick)


class TimeFading:
    """Tells how much to fade when the log's time moves on.

    Args:
        half_life_s: Log time after which an observation counts half; None never forgets.

    Attributes:
        step: Steps since the epoch at the newest event, or None before the first.
    """

    def __init__(self, half_life_s: float | None) -> None:
        self._per_s = 0.0 if half_life_s is None else CLOCK_STEPS / half_life_s
        self.step: int | None = None

    def advance(self, at: float) -> float:
        """Move on to an event's time; the share that older observations keep, 1 where no step has passed."""
        step, before = floor(at * self._per_s), self.step
        if before is None:
            self.step = step
            return 1.0
        if step <= before:
            return 1.0
        passed, self.step = step - before, step
        return float(2.0 ** (-passed / CLOCK_STEPS))

    def still(self, times: Sequence[float]) -> bool:
        """Whether no step passes at any of these times, so that nothing fades and each observation counts whole."""
        step = self.step
        return step is not None and floor(min(times) * self._per_s) == step == floor(max(times) * self._per_s)

    def weight(self, first_at: float) -> float:
        """What an observation that first arrived then counts now."""
        step = floor(first_at * self._per_s)
        if self.step is None or step >= self.step:
            return 1.0
        return float(2.0 ** ((step - self.step) / CLOCK_STEPS))


class ChangeFading:
    """Who has changed, and how far its evidence has faded since.

    Attributes:
        changed: Agent to the outcome at which it last changed, by number, and the steps taken since.
    """

    def __init__(self, changed: Mapping[str, tuple[int, int]] | None = None) -> None:
        self.changed = dict(changed or {})

    def note(self, agent: str, event: int) -> None:
        """An agent has changed."""
        self.changed[agent] = (event, 0)

    def due(self, event: int) -> list[tuple[str, float]]:
        """Whose evidence is to be faded at this outcome, and the share of it that stays."""
        found: list[tuple[str, float]] = []
        if not self.changed:
            return found
        for agent, (since, taken) in self.changed.items():
            steps = int(CHANGE_STEPS * fading(event - since))
            if steps > taken:
                self.changed[agent] = (since, steps)
                found.append((agent, 2.0 ** ((taken - steps) / CHANGE_STEPS)))
        return found

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self.changed.pop(name, None)

    @classmethod
    def restored(cls, state: Mapping[str, list[int]]) -> ChangeFading:
        """Read back ``changed`` from JSON.

        Raises:
            ValueError: if an entry is not a pair of numbers.
        """
        return cls({str(name): (int(since), int(taken)) for name, (since, taken) in state.items()})
