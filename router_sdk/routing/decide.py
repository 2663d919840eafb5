"""From a task to a logged decision."""

from __future__ import annotations

import logging
import random
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import (
    FAULTS,
    IdempotencyConflictError,
    InvalidInputError,
    RouterClosedError,
    UnknownAgentError,
)
from router_sdk.records import Decision, Skipped, Task
from router_sdk.records.plain import plain
from router_sdk.routing.agents import Eligible, Members, Roster, eligible
from router_sdk.routing.assignment import Assigned, Assignment
from router_sdk.routing.chain import Chain
from router_sdk.routing.comparing import Answer
from router_sdk.routing.context import Encoders, RequestContext, Sessions, Surroundings
from router_sdk.routing.limits import Limits
from router_sdk.store.identity import check_key, new_id
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.plugins import PluginRegistry
    from router_sdk.routing.limits import Measured
    from router_sdk.store import Store
    from router_sdk.strategy import Prefetched

NOBODY: tuple[str, ...] = ()
_UNLOGGED_NOTICE_S = 10.0

_log = logging.getLogger(__name__)


class Decider:
    """Filter, propose, sample, log. Called from many threads.

    Args:
        store: Where decisions are logged.
        members: Who can be chosen.
        chain: Who proposes.
        plugins: Filters and observers.
        encoders: What strategies may ask for.
        measured: What agents cost and took so far, for tasks that set limits.
        seed: Seed of the draws, or None.

    Attributes:
        chain: Who proposes where no experiment says otherwise; replaced as a whole.
        assignment: Which arm of an experiment decides; None where there is none; replaced as a whole.
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
        measured: Measured,
        seed: int | None,
    ) -> None:
        self._store, self._members, self._plugins = store, members, plugins
        self.chain = chain
        self.assignment: Assignment | None = None
        self._random = random.Random(seed).random
        self.sessions = Sessions()
        self._shared = Surroundings(encoders, self.sessions, store.privacy, np.random.default_rng(seed))
        self._aside = Surroundings(encoders, Sessions(), store.privacy, np.random.default_rng(0))
        self._filters = plugins.filters()
        self._observed = plugins.implements("on_decision")
        self._limits = Limits(measured)
        self._unlogged_notice = 0.0
        self.unlogged = 0
        self.closed = False

    def _eligible(self, task: Task, exclude: Collection[str], context: RequestContext, chain: Chain) -> Eligible:
        roster = self._members.now()
        unwanted = NOBODY if exclude is NOBODY else self._known(exclude, roster)
        limited = task.max_cost_usd is not None or task.max_latency_ms is not None
        narrowed = self._filters or chain.rules or not roster.available
        if unwanted or limited or task.requires or narrowed:
            return eligible(roster, task, unwanted, self._limits, self._filters, chain.rules, context)
        return roster.all_that_may

    def _known(self, exclude: Collection[str], roster: Roster) -> Collection[str]:
        """The names in ``exclude``, each of somebody who is or was there: a name that is mistyped excludes nobody.

        Raises:
            InvalidInputError: if it is no collection of names.
            UnknownAgentError: if nobody of a name is or was there; the store is asked before that is said.
        """
        try:
            given = plain(exclude) or ()  # an array of numpy's is neither true nor false
            names = frozenset((given,) if isinstance(given, str) else given)
        except TypeError:
            raise InvalidInputError(f"exclude: expected agents' names, got {exclude!r:.80}") from None
        except ValueError as error:
            raise InvalidInputError(f"exclude: {error}") from None
        try:
            there = roster.everyone.positions
            return {name if name in there else self._members.require_known(name) for name in names}
        except UnknownAgentError as error:
            raise UnknownAgentError(f"exclude: {error}") from None

    def decide(
        self, task: Task, exclude: Collection[str] = NOBODY, decision_id: str | None = None, *, remember: bool = True
    ) -> Decision:
        """Choose an agent, without logging it.

        With ``remember`` it is added to the session's history, and an experiment may take part in it.
        """
        if self.closed:
            raise RouterClosedError
        now = time.time()
        context = RequestContext(self._shared, task, now)
        decision_id = decision_id or new_id(now)
        assignment = self.assignment
        if assignment is None or not remember:
            chain, arm, chance = self.chain, None, None
        else:
            chain, arm, chance = assignment.of(task, decision_id)
        agents, notes, excluded = self._eligible(task, exclude, context, chain)
        answer = chain.choose(task, agents, context)
        decision = self._draw(task, context, answer, notes, excluded, decision_id, arm, chance)
        if remember:
            self.sessions.remember(decision)
        return decision

    def prefetch(self, tasks: Sequence[Task]) -> Sequence[Prefetched]:
        """What strategies begin for these tasks, to be waited for before they are decided; usually nothing."""
        chain = self.chain
        return chain.prefetch(tasks, self._members.now().available) if chain.prefetching else ()

    def preview(self, task: Task, exclude: Collection[str]) -> Decision:
        """What would be decided, and is not."""
        decision = self.decide(task, exclude, remember=False)
        decision.logged = False
        return decision

    def favourite(self, task: Task) -> str | None:
        """Whom a task would go to without any draw, None where nobody fits; no request notices."""
        context = RequestContext(self._aside, task, time.time())
        agents, *_ = self._eligible(task, NOBODY, context, self.chain)
        drawn = self.chain.choose(task, agents, context).drawn
        return drawn.agents.names[drawn.favourite] if drawn.weights and drawn.favourite >= 0 else None

    def _draw(
        self,
        task: Task,
        context: RequestContext,
        answer: Answer,
        notes: tuple[Skipped, ...],
        excluded: Mapping[str, str],
        decision_id: str,
        arm: str | None,
        chance: float | None,
    ) -> Decision:
        drawn, skipped, favourites = answer
        agent: str | None = None
        propensity, explored = 1.0, False
        if drawn.weights:
            position = bisect_right(drawn.cumulative, self._random())
            agent = drawn.agents.names[position]
            propensity = drawn.weights[position]
            explored = position != drawn.favourite
        return Decision(
            decision_id,
            agent,
            task,
            context.now,
            propensity,
            explored,
            drawn,
            "routed",
            True,
            (*notes, *skipped) if notes else skipped,
            context.vectors,
            False,
            None,
            arm,
            chance,
            excluded,
            favourites,
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
        """The decision for a tenant's idempotency key: made and written by whoever comes first, in any process.

        Raises:
            IdempotencyConflictError: if the key was given for another task, see ``IdempotencyKeys.check``, or its
                decision is for an agent that is excluded now.
        """
        keys = self._store.keys
        decision_id = keys.decision_id(check_key(key, "idempotency_key"), task.tenant)
        known = self._store.reader.decision(decision_id)
        if known is None:
            made = self.decide(task, exclude, decision_id)
            self._store.writer.append((Entry(decision=made),))
            known = self._store.reader.known_decision(decision_id)
            if self._observed:
                self._plugins.notify("on_decision", decision=known)
        keys.check(key, decision_id, task)
        if exclude is not NOBODY and known.agent in self._known(exclude, self._members.now()):
            raise IdempotencyConflictError(
                f"idempotency_key: {key!r:.60} stands for a decision for {known.agent!r:.80}, which exclude leaves "
                "out; give the task a key of its own"
            )
        return known

    def decide_batch(self, tasks: Sequence[Task], exclude: Collection[str]) -> list[Decision]:
        """Decide for many tasks, those with the same eligible agents together; in the order of ``tasks``."""
        if self.closed:
            raise RouterClosedError
        now = time.time()
        contexts = [RequestContext(self._shared, task, now) for task in tasks]
        ids = [new_id(now) for _ in tasks]
        assignment = self.assignment
        champion: Assigned = (self.chain, None, None)
        groups: dict[tuple[str | None, int], list[int]] = {}
        assigned, narrowed = [], []
        for i, (task, context) in enumerate(zip(tasks, contexts, strict=True)):
            assigned.append(champion if assignment is None else assignment.of(task, ids[i]))
            narrowed.append(self._eligible(task, exclude, context, assigned[i][0]))
            groups.setdefault((assigned[i][1], narrowed[i].agents.set_id), []).append(i)
        decisions: dict[int, Decision] = {}
        for members in groups.values():
            answers = assigned[members[0]][0].choose_batch(
                [tasks[i] for i in members], narrowed[members[0]].agents, [contexts[i] for i in members]
            )
            for i, answer in zip(members, answers, strict=True):
                _, notes, excluded = narrowed[i]
                _, arm, chance = assigned[i]
                decisions[i] = self._draw(tasks[i], contexts[i], answer, notes, excluded, ids[i], arm, chance)
        for decision in decisions.values():
            self.sessions.remember(decision)
        return [decisions[i] for i in range(len(tasks))]

    def vectors(self, task: Task) -> Mapping[str, NDArray[Any]] | None:
        """What the strategies' encoders make of a task's text, by encoder tag."""
        context = RequestContext(self._shared, task, time.time())
        for stage in self.chain.stages:
            try:
                stage.strategy.propose(task, self._members.roster.everyone, context)
            except FAULTS as error:
                stage.failed(error)
        return context.vectors

    def after_fork(self) -> None:
        """In a child: generators and locks of its own."""
        self._random = random.Random().random
        self._shared.after_fork()
