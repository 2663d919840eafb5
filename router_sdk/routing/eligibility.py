"""Who may be chosen: capabilities, exclusions, switched-off and unhealthy agents, plugins' filters, hard rules."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import NoEligibleAgentError
from router_sdk.isolation import FAULTS, let_end
from router_sdk.records import Agent, AgentSet, Skipped, Task
from router_sdk.spelling import normal

if TYPE_CHECKING:
    from router_sdk.routing.chain import Stage
    from router_sdk.routing.request import RequestContext

Filter = Callable[..., Collection[str] | None]

_INTERNED = 4_096
_log = logging.getLogger(__name__)


class Roster:
    """An immutable view of this process's agents; replaced as a whole when they change.

    Args:
        agents: All agents, in order.
        unhealthy: Name to the time, in seconds since the epoch, until which it gets no traffic.

    Attributes:
        everyone: All agents.
        available: Those that are enabled and not marked unhealthy.
        recheck_at: When somebody may be healthy again, in seconds since the epoch; infinity where nobody waits.
    """

    __slots__ = ("_interned", "available", "everyone", "recheck_at", "unhealthy")

    def __init__(self, agents: Sequence[Agent], unhealthy: dict[str, float] | None = None) -> None:
        now = time.time()
        self.unhealthy = {name: until for name, until in (unhealthy or {}).items() if until > now}
        self.everyone = AgentSet(agents)
        self._interned: dict[tuple[str, ...], AgentSet] = {self.everyone.names: self.everyone}
        self.available = self.intern(
            [agent.name for agent in agents if agent.enabled and agent.name not in self.unhealthy]
        )
        self.recheck_at = min(self.unhealthy.values(), default=float("inf"))

    def intern(self, names: Sequence[str]) -> AgentSet:
        """The one set object for these names, in the roster's order."""
        key = tuple(names)
        found = self._interned.get(key)
        if found is None:
            found = AgentSet([agent for agent in self.everyone if agent.name in set(key)])
            if len(self._interned) < _INTERNED:
                self._interned[key] = found
        return found

    def narrowed(self, agents: AgentSet, allowed: Collection[str]) -> AgentSet:
        """Those of ``agents`` that are in ``allowed``."""
        if len(allowed) >= len(agents) and all(name in allowed for name in agents.names):
            return agents
        return self.intern([name for name in agents.names if name in allowed])


def eligible(
    roster: Roster,
    task: Task,
    exclude: Collection[str],
    filters: Sequence[tuple[str, Filter]],
    rules: Sequence[Stage],
    context: RequestContext,
) -> tuple[AgentSet, tuple[Skipped, ...]]:
    """Narrow the available agents down for one task; the second value says which hard rules did so.

    A filter or rule that raises, or answers nonsense, has no say: it is logged, and a rule's failure is noted.

    Raises:
        NoEligibleAgentError: if nobody is left; says which step left nobody.
    """
    agents = roster.available
    notes: tuple[Skipped, ...] = ()
    _require(agents, roster, "no agent is enabled and healthy")
    if task.requires:
        capable = [agent.name for agent in agents if task.requires <= agent.capabilities]
        agents = roster.narrowed(agents, capable)
        _require(agents, roster, f"no agent has all of {sorted(task.requires)}")
    if exclude:
        unwanted = _names(exclude) or ()
        agents = roster.narrowed(agents, [name for name in agents.names if name not in unwanted])
        _require(agents, roster, f"exclude={sorted(map(str, unwanted))} leaves nobody")
    for plugin, allowed_by in filters:
        try:
            allowed = _names(allowed_by(task=task, agents=agents))
        except FAULTS as error:
            let_end(error)
            _log.exception("filter_agents of plugin %s failed and is passed over", plugin)
            continue
        if allowed is not None:
            agents = roster.narrowed(agents, allowed)
            _require(agents, roster, f"filter_agents of plugin {plugin!r} leaves nobody")
    for stage in rules:
        try:
            names, reason = stage.strategy.restrict(task, agents, context) or (None, "")
            allowed = _names(names)
        except FAULTS as error:
            notes = (*notes, stage.failed(error))
            continue
        if allowed is not None:
            agents = roster.narrowed(agents, allowed)
            _require(agents, roster, f"a hard rule leaves nobody: {reason}")
            notes = (*notes, Skipped(stage.name, f"hard rule: {reason}"))
    return agents, notes


def _names(answer: Collection[str] | None) -> frozenset[str] | None:
    """The names that a filter or rule answered; a single one may stand for itself."""
    if answer is None:
        return None
    names = (answer,) if isinstance(answer, str) else answer
    return frozenset(normal(name) if isinstance(name, str) else name for name in names)


def _require(agents: AgentSet, roster: Roster, reason: str) -> None:
    if not agents:
        raise NoEligibleAgentError(f"{reason} (agents: {list(roster.everyone.names)[:20]})")
