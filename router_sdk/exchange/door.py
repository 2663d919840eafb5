"""What an import needs of a router: the door that every decision and outcome comes in by, and agents of new names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from router_sdk.errors import InvalidAgentError, UnknownAgentError
from router_sdk.records import Agent

if TYPE_CHECKING:
    from router_sdk.records import Decision, Outcome, Task
    from router_sdk.store.rows import Entry


class Observe(Protocol):
    """Makes a decision that somebody else made."""

    def __call__(
        self, task: Task, agent: str | None, at: float | None = None, decision_id: str | None = None
    ) -> Decision:
        """The decision; raises where its agent is unknown."""


class Check(Protocol):
    """Makes an entry of an outcome."""

    def __call__(
        self, decision: Decision, outcome: Outcome, outcome_id: str | None = None, *, at: float | None = None
    ) -> Entry:
        """The entry; raises where it cannot be logged."""


@dataclass(frozen=True, slots=True)
class Door:
    """One router's.

    Attributes:
        observe: Makes the decision of a task, an agent, a time and an id.
        check: Makes an entry of a decision, an outcome, that outcome's id, and when it came.
        strangers: Who of some names is no agent, and never was.
        welcome: Makes agents of names.
        recorded: Told how many outcomes are on disk now, and asked for none where nobody observes: the ids of their
            decisions, and the outcomes.
    """

    observe: Observe
    check: Check
    strangers: Callable[[Iterable[str]], list[str]]
    welcome: Callable[[Collection[str]], None]
    recorded: Callable[[int, Iterable[tuple[str, Outcome]]], None]


class Newcomers:
    """Makes agents of names.

    Args:
        door: Of the router.
        allowed: Whether it may.

    Attributes:
        names: Who became an agent.
    """

    def __init__(self, door: Door, *, allowed: bool) -> None:
        self._door, self._allowed = door, allowed
        self.names: list[str] = []

    def welcome(self, names: Iterable[str]) -> None:
        """Add those that nobody knows; a name that cannot be one is left to be refused with its line."""
        if self._allowed and (found := [name for name in self._door.strangers(names) if _is_name(name)]):
            self._door.welcome(found)
            self.names += found

    def check(self, names: Iterable[str]) -> None:
        """Look that all of them are known.

        Raises:
            UnknownAgentError: if one is not.
        """
        if strangers := self._door.strangers(names):
            hint = "--new-agents, or new_agents=True, makes agents of new names"
            if self._allowed:
                hint = "a number is made no agent: say whom it stands for with labels (--labels A,B)"
            raise UnknownAgentError(f"no agent is called {strangers[0]!r}; {hint}")


def _is_name(name: str) -> bool:
    """A number is somebody's position in a list that is not there: it names no new agent."""
    try:
        return not Agent(name).name.isdecimal()
    except InvalidAgentError:
        return False
