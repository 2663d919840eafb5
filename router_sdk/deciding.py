"""From a task to a logged decision."""

from __future__ import annotations

import logging
import random
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import NoEligibleAgentError, RouterClosedError
from router_sdk.isolation import FAULTS
from router_sdk.records import AgentSet, Decision, Distribution, Skipped, Task
from router_sdk.routing.chain import Chain
from router_sdk.routing.eligibility import eligible
from router_sdk.routing.members import Members
from router_sdk.routing.request import Encoders, RequestContext, Sessions, Surroundings
from router_sdk.store.identity import check_key, keyed_id, new_id
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugins import PluginRegistry
    from router_sdk.store import Store

_UNLOGGED_NOTICE_S = 10.0

_log = logging.getLogger(__name__)


class Deciding:
    """Filter, propose, sample, log. Called from many threads.

    Args:
        store: Where decisions are logged.
        members: Who can be chosen.
        chain: Who proposes.
        plugins: Filters and observers.
        encoders: What strategies may ask for.
        seed: Seed of the draws, or None.

    Attributes:
        closed: Once True, nothing is decided any more.
        unlogged: Decisions that the log's full queue did not take.
    """

    def __init__(
        self,
        store: Store,
        members: Members,
        chain: Chain,
        plugins: PluginRegistry,
        encoders: Encoders,
        seed: int | None,
    ) -> None:
        self._store, self._members, self._chain, self._plugins = store, members, chain, plugins
        self._random = random.Random(seed).random
        self.sessions = Sessions()
        self._shared = Surroundings(encoders, self.sessions, store.privacy, np.random.default_rng(seed))
        self._filters = plugins.filters()
        self._observed = plugins.implements("on_decision")
        self._narrows = bool(self._filters or chain.rules)
        self._unlogged_notice = 0.0
        self.unlogged = 0
        self.closed = False

    def _eligible(
        self, task: Task, exclude: Collection[str], context: RequestContext
    ) -> tuple[AgentSet, tuple[Skipped, ...]]:
        roster = self._members.roster
        if context.now >= roster.recheck_at:
            roster = self._members.recheck()
        if exclude or self._narrows or task.requires:
            return eligible(roster, task, exclude, self._filters, self._chain.rules, context)
        if not roster.available:
            raise NoEligibleAgentError("no agent is enabled and healthy; add one with add_agent")
        return roster.available, ()

    def decide(
        self, task: Task, exclude: Collection[str] = (), decision_id: str | None = None, *, remember: bool = True
    ) -> Decision:
        """Choose an agent, without logging it; ``remember`` adds it to the session's history."""
        if self.closed:
            raise RouterClosedError("the router was closed; make a new one on the same store")
        now = time.time()
        context = RequestContext(self._shared, task, now)
        agents, notes = self._eligible(task, exclude, context)
        drawn, skipped = self._chain.choose(task, agents, context)
        decision = self._draw(task, context, drawn, (*notes, *skipped) if notes else skipped, decision_id)
        if remember and task.session_id is not None and decision.agent is not None:
            self.sessions.remember(task.session_id, decision.agent)
        return decision

    def _draw(
        self,
        task: Task,
        context: RequestContext,
        drawn: Distribution,
        skipped: tuple[Skipped, ...],
        decision_id: str | None = None,
    ) -> Decision:
        agent: str | None = None
        propensity, explored = 1.0, False
        if drawn.weights:
            position = bisect_right(drawn.cumulative, self._random())
            agent = drawn.agents.names[position]
            propensity = drawn.weights[position]
            explored = position != drawn.favourite
        return Decision(
            decision_id or new_id(context.now),
            agent,
            task,
            context.now,
            propensity,
            explored,
            drawn,
            "routed",
            True,
            skipped,
            context.vectors,
        )

    def log(self, decision: Decision) -> Decision:
        """Queue a decision for the disk and tell the observers; never waits."""
        if not self._store.writer.offer(decision):
            decision.logged = False
            if not self._store.read_only:  # there nobody expects it
                self._count_unlogged()
        if self._observed:
            self._plugins.notify("on_decision", decision=decision)
        return decision

    def _count_unlogged(self) -> None:
        self.unlogged += 1
        now = time.monotonic()
        if now - self._unlogged_notice > _UNLOGGED_NOTICE_S:
            self._unlogged_notice = now
            _log.error("the log's queue is full, or closed: %d decisions were not logged so far", self.unlogged)

    def decide_once(self, task: Task, exclude: Collection[str], key: str) -> Decision:
        """The decision for an idempotency key: made and written by whoever comes first, in any process."""
        decision_id = keyed_id(check_key(key, "idempotency_key"), task.tenant)
        known = self._store.reader.decision(decision_id)
        if known is None:
            made = self.decide(task, exclude, decision_id)
            self._store.writer.append((Entry(decision=made),))
            known = self._store.reader.known_decision(decision_id)
            if self._observed:
                self._plugins.notify("on_decision", decision=known)
        return known

    def decide_batch(self, tasks: Sequence[Task], exclude: Collection[str]) -> list[Decision]:
        """Decide for many tasks, those with the same eligible agents together; in the order of ``tasks``."""
        if self.closed:
            raise RouterClosedError("the router was closed; make a new one on the same store")
        now = time.time()
        contexts = [RequestContext(self._shared, task, now) for task in tasks]
        groups: dict[int, list[int]] = {}
        narrowed = []
        for i, (task, context) in enumerate(zip(tasks, contexts, strict=True)):
            narrowed.append(self._eligible(task, exclude, context))
            groups.setdefault(narrowed[i][0].set_id, []).append(i)
        decisions: dict[int, Decision] = {}
        for members in groups.values():
            answers = self._chain.choose_batch(
                [tasks[i] for i in members], narrowed[members[0]][0], [contexts[i] for i in members]
            )
            for i, (drawn, skipped) in zip(members, answers, strict=True):
                decisions[i] = self._draw(tasks[i], contexts[i], drawn, (*narrowed[i][1], *skipped))
        for decision in decisions.values():
            if decision.task.session_id is not None and decision.agent is not None:
                self.sessions.remember(decision.task.session_id, decision.agent)
        return [decisions[i] for i in range(len(tasks))]

    def vectors(self, task: Task) -> Mapping[str, NDArray[Any]] | None:
        """What the strategies' encoders make of a task's text, by encoder tag."""
        context = RequestContext(self._shared, task, time.time())
        for stage in self._chain.stages:
            try:
                stage.strategy.propose(task, self._members.roster.everyone, context)
            except FAULTS as error:
                stage.failed(error)
        return context.vectors

    def after_fork(self) -> None:
        """In a child: generators and locks of its own."""
        self._random = random.Random().random
        self._shared.after_fork()
