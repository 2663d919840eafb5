"""A task's own limits: which agents keep them, by what is stated of each, or else by what outcomes said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from router_sdk.records import Agent, AgentSet, Task

Measured = Callable[[str, str], float | None]
"""What an agent, by name, was measured at in a figure, by its name; None where nothing is known."""

FIGURES = {"max_cost_usd": "cost_usd", "max_latency_ms": "latency_ms"}
"""Which figure of an agent each limit of a task is about."""

_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """Who keeps a limit.

    Attributes:
        names: Those who do.
        reasons: Why each of the others is left out, by name.
        least: The lowest figure that is known of anybody, and whose; None where none is.
    """

    names: list[str]
    reasons: dict[str, str]
    least: tuple[float, str] | None


class Limits:
    """Applies the limits of tasks.

    An agent's figure is the one that was stated of it; of an agent without one, the mean of what outcomes reported.
    Who is known to keep a limit goes first; where nobody is, those of whom nothing is known may try, and where a
    figure is known of everybody and too high, nobody is left.

    Args:
        measured: What outcomes reported, on average.
    """

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self._toothless: set[str] = set()

    @staticmethod
    def of(task: Task) -> list[tuple[str, float]]:
        """The limits that a task sets: their names and values."""
        return [(name, most) for name in FIGURES if (most := getattr(task, name)) is not None]

    def keep(self, limit: str, most: float, agents: AgentSet) -> Kept:
        """Who of these agents keeps a limit; nobody, where all are known to be beyond it.

        Args:
            limit: Its name, such as ``"max_cost_usd"``.
            most: Its value, in the figure's own unit; a figure that equals it keeps it.
            agents: Who is eligible so far.
        """
        figure = FIGURES[limit]
        within: list[str] = []
        unknown: list[str] = []
        reasons: dict[str, str] = {}
        least: tuple[float, str] | None = None
        for agent in agents:
            known, stated = self._figure(agent, figure)
            if known is None:
                unknown.append(agent.name)
                continue
            if least is None or known < least[0]:
                least = known, agent.name
            if known <= most:
                within.append(agent.name)
            else:
                reasons[agent.name] = f"beyond {limit}" if stated else f"beyond {limit}, as measured"
        if within:
            reasons.update(dict.fromkeys(unknown, f"{figure} is not known, and others keep {limit}"))
        elif least is None:
            self._warn(limit, figure)
        return Kept(within or unknown, reasons, least)

    def _figure(self, agent: Agent, figure: str) -> tuple[float | None, bool]:
        """An agent's figure, and whether it was stated."""
        stated: float | None = getattr(agent, figure)
        return (self._measured(agent.name, figure), False) if stated is None else (stated, True)

    def _warn(self, limit: str, figure: str) -> None:
        if limit not in self._toothless:
            self._toothless.add(limit)
            _log.warning("%s binds nobody: state %s of the agents, or record it with outcomes", limit, figure)
