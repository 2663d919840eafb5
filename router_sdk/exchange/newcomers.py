"""Names in labelled data that nobody knows: agents from now on where that is asked for, else refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidAgentError, UnknownAgentError
from router_sdk.records import Agent

if TYPE_CHECKING:
    from router_sdk.exchange.door import Door


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
