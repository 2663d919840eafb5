"""Who there is, and who of them may be chosen.

A process has its own list of agents, or follows whatever the store knows; each is known by name even after it left. For
one task they are narrowed down by health, capabilities, exclusions, limits, plugins' filters and hard rules.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.errors import FAULTS, InvalidInputError, NoEligibleAgentError, UnknownAgentError, let_end
from router_sdk.records import Agent, AgentSet, Skipped, Task
from router_sdk.records.plain import plain
from router_sdk.spelling import normal
from router_sdk.store.agents import add_agents, catalog_version, read_agents, remove_agent

if TYPE_CHECKING:
    from router_sdk.routing.chain import Stage
    from router_sdk.routing.context import RequestContext
    from router_sdk.routing.limits import Limits
    from router_sdk.store import Store

Filter = Callable[..., Collection[str] | None]

MOST_SETS = 4_096
"""Sets of eligible agents that a roster keeps, those used last; fewer where agents are many, see ``MOST_MEMBERS``."""
MOST_MEMBERS = 65_536
"""Agents in all the sets that are kept, together."""
LEAST_SETS = 16
"""Sets that are kept however many agents there are."""

_SHOWN = 20
_NEVER = float("inf")

_log = logging.getLogger(__name__)


class Eligible(NamedTuple):
    """Who may be chosen for one task.

    Attributes:
        agents: Those who may.
        notes: Which hard rules narrowed them down, or failed.
        excluded: Why each of the others may not, by name.
    """

    agents: AgentSet
    notes: tuple[Skipped, ...]
    excluded: Mapping[str, str]


class Roster:
    """An immutable view of this process's agents; replaced as a whole when they change.

    Args:
        agents: All agents, in order.
        unhealthy: Name to the time, in seconds of a clock that is never set back, until which it gets no traffic.

    Attributes:
        everyone: All agents.
        available: Those that are enabled and not marked unhealthy.
        absent: Why each of the others is not available, by name.
        all_that_may: Who is eligible for a task that asks for nothing.
        recheck_at: When somebody may be healthy again, by the same clock; infinity where nobody waits.
    """

    __slots__ = ("_interned", "absent", "all_that_may", "available", "everyone", "recheck_at", "unhealthy")

    def __init__(self, agents: Sequence[Agent], unhealthy: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        self.unhealthy = {name: until for name, until in (unhealthy or {}).items() if until > now}
        self.everyone = AgentSet(agents)
        most = min(MOST_SETS, max(LEAST_SETS, MOST_MEMBERS // max(len(self.everyone), 1)))
        self._interned = lru_cache(most)(partial(_chosen, self.everyone))
        self.absent = {
            agent.name: "unhealthy" if agent.enabled else "disabled"
            for agent in agents
            if not agent.enabled or agent.name in self.unhealthy
        }
        self.available = self.narrowed(self.everyone, self.everyone.positions.keys() - self.absent)
        self.all_that_may = Eligible(self.available, (), self.absent)
        self.recheck_at = min(self.unhealthy.values(), default=_NEVER)

    def intern(self, names: Sequence[str]) -> AgentSet:
        """The one set object for these names, which stand in the roster's order, for as long as it is kept."""
        return self._interned(tuple(names))

    def narrowed(self, agents: AgentSet, allowed: Collection[str]) -> AgentSet:
        """Those of ``agents`` that are in ``allowed``."""
        if len(allowed) >= len(agents) and all(name in allowed for name in agents.names):
            return agents
        return self.intern([name for name in agents.names if name in allowed])


def _chosen(everyone: AgentSet, names: tuple[str, ...]) -> AgentSet:
    return AgentSet([everyone[everyone.positions[name]] for name in names])


class _Narrowing:
    """Who is left, and why the others are not, while one step after the other is taken."""

    __slots__ = ("_roster", "agents", "excluded")

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.agents = roster.available
        self.excluded = dict(roster.absent)
        self.require(
            "no agent is enabled and healthy; add one with add_agent, `router agents add NAME` or PUT /v1/agents/NAME"
        )

    def keep(self, allowed: Collection[str], reason: str | Mapping[str, str], otherwise: str) -> None:
        """Leave those in ``allowed``; ``reason`` is that of all others, or of each, ``otherwise`` that nobody is left.

        Raises:
            NoEligibleAgentError: if so.
        """
        before = self.agents
        self.agents = left = self._roster.narrowed(before, allowed)
        if left is not before:
            for name in before.names:
                if name not in left.positions:
                    self.excluded[name] = reason if isinstance(reason, str) else reason[name]
            self.require(otherwise)

    def require(self, otherwise: str) -> None:
        """Fail where nobody is left."""
        if not self.agents:
            everyone = self._roster.everyone.names
            others = f" and {len(everyone) - _SHOWN:,} more" if len(everyone) > _SHOWN else ""
            raise NoEligibleAgentError(f"{otherwise} (agents: {list(everyone[:_SHOWN])}{others})")


def eligible(
    roster: Roster,
    task: Task,
    unwanted: Collection[str],
    limits: Limits,
    filters: Sequence[tuple[str, Filter]],
    rules: Sequence[Stage],
    context: RequestContext,
) -> Eligible:
    """Narrow the available agents down for one task.

    A filter or rule that raises, or answers nonsense, has no say: it is logged, and a rule's failure is noted. Reasons
    name what of the task decided and quote nothing of it: they are kept with the numbers, which outlive its payload.

    Raises:
        NoEligibleAgentError: if nobody is left; says which step left nobody.
    """
    step = _Narrowing(roster)
    notes: tuple[Skipped, ...] = ()
    if task.requires:
        capable = {agent.name for agent in step.agents if task.requires <= agent.capabilities}
        step.keep(capable, "lacks what the task requires", f"no agent has all of {sorted(task.requires)}")
    if unwanted:
        wanted = [name for name in step.agents.names if name not in unwanted]
        step.keep(wanted, "excluded by the caller", f"exclude={sorted(unwanted)} leaves nobody")
    for limit, most in limits.of(task):
        names, reasons, least = limits.keep(limit, most, step.agents)
        known = "" if least is None else f": the least is {least[0]:g}, of {least[1]!r}"
        step.keep(names, reasons, f"{limit}={most:g} leaves nobody{known}")
    for plugin, allowed_by in filters:
        try:
            allowed = _names(allowed_by(task=task, agents=step.agents))
        except FAULTS as error:
            let_end(error)
            _log.exception("filter_agents of plugin %s failed and is passed over", plugin)
            continue
        if allowed is not None:
            step.keep(
                allowed, f"filter_agents of plugin {plugin!r}", f"filter_agents of plugin {plugin!r} leaves nobody"
            )
    for stage in rules:
        try:
            answer, reason = stage.strategy.restrict(task, step.agents, context) or (None, "")
            allowed = _names(answer)
        except FAULTS as error:
            notes = (*notes, stage.failed(error))
            continue
        if allowed is not None:
            step.keep(allowed, f"hard rule: {reason}", f"a hard rule leaves nobody: {reason}")
            notes = (*notes, Skipped(stage.name, f"hard rule: {reason}"))
    return Eligible(step.agents, notes, step.excluded)


def _names(answer: Collection[str] | None) -> frozenset[str] | None:
    """The names that a filter or rule answered; a single one may stand for itself."""
    if answer is None:
        return None
    names = (answer,) if isinstance(answer, str) else answer
    return frozenset(normal(name) if isinstance(name, str) else name for name in names)


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
            agent = self.roster.everyone.get(normal(name)) if isinstance(name, str) else None
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
                unhealthy[name] = time.monotonic() + for_s
            self.publish(self.roster.everyone, unhealthy)

    def now(self) -> Roster:
        """The roster, with agents back whose time is over."""
        roster = self.roster
        if roster.recheck_at < _NEVER and time.monotonic() >= roster.recheck_at:
            return self._recheck()
        return roster

    def _recheck(self) -> Roster:
        """Let agents back. A request asks, so this waits for nobody: ``follow`` prepares later."""
        if self.lock.acquire(blocking=False):
            try:
                if time.monotonic() >= self.roster.recheck_at:
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
