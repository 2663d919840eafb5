"""Agents that have changed may change again, also while nobody asks them: their evidence fades, ever more slowly.

Over task types ``standing`` scales each agent's totals. Posteriors over words and vectors are faded in steps instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk_thompson.drift.agent_evidence import fading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STEPS = 2
"""Steps in a half-life."""


class Restless:
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
        found = []
        for agent, (since, taken) in self.changed.items():
            steps = int(STEPS * fading(event - since))
            if steps > taken:
                self.changed[agent] = (since, steps)
                found.append((agent, 2.0 ** ((taken - steps) / STEPS)))
        return found

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        for name in agents:
            self.changed.pop(name, None)

    @classmethod
    def restored(cls, state: Mapping[str, list[int]]) -> Restless:
        """Read back ``changed`` from JSON.

        Raises:
            ValueError: if an entry is not a pair of numbers.
        """
        return cls({str(name): (int(since), int(taken)) for name, (since, taken) in state.items()})
