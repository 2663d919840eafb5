"""The agents of this process: its own list, or whatever the store knows; known by name even after they left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import InvalidInputError, UnknownAgentError
from router_sdk.records import Agent
from router_sdk.records.plain import plain
from router_sdk.routing.eligibility import Roster
from router_sdk.spelling import normal
from router_sdk.store.registry import add_agents, catalog_version, read_agents, remove_agent

if TYPE_CHECKING:
    from router_sdk.store import Store


class Members:
    """Keeps the published roster in step with additions, removals and health.

    Args:
        store: Where agents are logged.
        agents: This process's own; None follows the store.

    Attributes:
        roster: What requests read, by one reference.
    """

    def __init__(self, store: Store, agents: Iterable[Agent] | None) -> None:
        self._store = store
        self._changed: Callable[[Roster], None] = lambda roster: None
        self.lock = threading.RLock()
        self._follows = agents is None
        self._version = -1
        self._unprepared = False
        own = None if agents is None else list(agents)
        self.roster = Roster(own or [])
        if own and not store.read_only:
            add_agents(store.writer, own)
        self._known = self._read()
        if own is None:
            self.roster = Roster(self._active())

    def _read(self) -> dict[str, Agent]:
        self._version = self._store.reader.query(catalog_version)
        self._catalog = self._store.reader.query(read_agents)
        return {name: agent for name, (_, agent) in self._catalog.items()}

    def _active(self) -> list[Agent]:
        return [agent for status, agent in self._catalog.values() if status == "active"]

    def on_change(self, changed: Callable[[Roster], None]) -> None:
        """Call ``changed`` with the roster now, and with each new one before it is published."""
        with self.lock:
            self._changed = changed
            changed(self.roster)

    def publish(self, agents: Sequence[Agent], unhealthy: dict[str, float] | None = None) -> None:
        """Replace the roster; strategies are prepared before requests see it."""
        with self.lock:
            roster = Roster(agents, self.roster.unhealthy if unhealthy is None else unhealthy)
            self._changed(roster)
            self.roster = roster

    def follow(self) -> None:
        """Look whether another process changed the agents; in this process's set only where it follows the store."""
        with self.lock:
            if self._unprepared:
                self._unprepared = False
                self._changed(self.roster)
            if self._store.reader.query(catalog_version) != self._version:
                self._known = self._read()
                if self._follows:
                    self.publish(self._active())

    def require_known(self, name: str) -> str:
        """The name as it is kept, of somebody who is or was there.

        Raises:
            UnknownAgentError: if not, here or in the store.
        """
        if not isinstance(name, str):
            raise UnknownAgentError(f"an agent is named by a text, got {name!r:.60}")
        name = normal(name)
        if name not in self._known:
            self.follow()
            if name not in self._known:
                raise UnknownAgentError(f"no agent is called {name!r:.210}; there are {sorted(self._known)[:20]}")
        return name

    def strangers(self, names: Iterable[str]) -> list[str]:
        """Those of some names whom nobody ever knew, here or in the store; each once, in order."""
        found = [name for name in dict.fromkeys(names) if name not in self._known]
        if found:
            self.follow()
        return [name for name in found if name not in self._known]

    def welcome(self, names: Collection[str]) -> None:
        """Add agents of which nothing else is known than their names."""
        with self.lock:
            newcomers = [Agent(name) for name in names]
            add_agents(self._store.writer, newcomers)
            self._known = self._read()
            self.publish([*self.roster.everyone, *newcomers])

    def add(self, agent: Agent, *, fresh: bool) -> None:
        """Add one agent, or replace it where it stands."""
        with self.lock:
            add_agents(self._store.writer, [agent], fresh=fresh)
            self._known = self._read()
            placed = {other.name: other for other in self.roster.everyone} | {agent.name: agent}
            self.publish(self._active() if self._follows else list(placed.values()))

    def remove(self, name: str) -> None:
        """Take one agent out.

        Raises:
            UnknownAgentError: if nobody of that name is in this process's set.
        """
        with self.lock:
            agent = self.roster.everyone.get(normal(name) if isinstance(name, str) else name)
            if agent is None:
                raise UnknownAgentError(f"no agent {name!r} to remove; there are {list(self.roster.everyone.names)}")
            remove_agent(self._store.writer, agent)
            self._known = self._read()
            self.publish([other for other in self.roster.everyone if other is not agent])

    def set_health(self, name: str, *, healthy: bool, for_s: float) -> None:
        """Keep one agent's traffic away for a while, or let it back.

        Raises:
            UnknownAgentError: if nobody of that name is or was there.
            InvalidInputError: if the time is none.
        """
        name, for_s = self.require_known(name), plain(for_s)
        if isinstance(for_s, bool) or not isinstance(for_s, (int, float)) or not for_s >= 0:
            raise InvalidInputError(f"for_s: expected a time in seconds, at least 0, got {for_s!r:.60}")
        with self.lock:
            unhealthy = {other: until for other, until in self.roster.unhealthy.items() if other != name}
            if not healthy:
                unhealthy[name] = time.time() + for_s
            self.publish(self.roster.everyone, unhealthy)

    def recheck(self) -> Roster:
        """Let agents back whose time is over. A request asks, so this waits for nobody: ``follow`` prepares later."""
        if self.lock.acquire(blocking=False):
            try:
                if time.time() >= self.roster.recheck_at:
                    self.roster = Roster(self.roster.everyone, self.roster.unhealthy)
                    self._unprepared = True
            finally:
                self.lock.release()
        return self.roster

    def before_fork(self) -> None:
        """Keep the agents as they are."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Let them change again."""
        self.lock.release()

    def after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self.lock = threading.RLock()
