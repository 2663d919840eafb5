"""From an outcome to the log: it is checked, written, told to observers, and learnt at once where that is asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from router_sdk.errors import (
    InvalidInputError,
    RouterClosedError,
    RouterError,
    TooManyOutcomesError,
    UnknownDecisionError,
)
from router_sdk.records import Decision, Distribution, Outcome, Task
from router_sdk.records.arguments import each
from router_sdk.records.plain import plain
from router_sdk.rewards import OutcomeReward, RewardFunction, checked_reward
from router_sdk.store.group_commit import GROUP_SIZE
from router_sdk.store.identity import check_id, check_key, check_tenant, new_id
from router_sdk.store.rows import Entry

if TYPE_CHECKING:
    from router_sdk.learning.learner import Learner
    from router_sdk.plugins import PluginRegistry
    from router_sdk.routing.agents import Members
    from router_sdk.store import Store

Observation = tuple[Task, str | None, Outcome | None]
"""A task, who did it or None where nobody fitted, and what came of it."""

Report = tuple[Decision | str, Outcome, str | None]
"""A decision, or its id, what came of it, and the caller's own id of this delivery."""

_METRICS_ALONE = (
    "outcomes that hold metrics alone (%s) teach nothing; report success, quality or feedback beside them, or state "
    'what is good: reward_metrics={"%s": {"goal": "min", "low": 0.0, "high": 1.0}}'
)

_log = logging.getLogger(__name__)


def _observation(given: object) -> Observation:
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise InvalidInputError(f"observed: expected (task, agent, outcome) of each, got {given!r:.60}")
    task, agent, outcome = given
    return Task.of(task), agent, None if outcome is None else Outcome.of(outcome)


class Recorder:
    """One router's.

    Args:
        store: The log.
        members: The agents that an outcome may name.
        reward: What outcomes are turned into; checked before they are logged.
        plugins: Observers.
        learner: Who learns from them.
        learn_now: Whether each is learnt before its caller goes on.

    Attributes:
        closed: Once True, nothing is taken any more.
    """

    def __init__(
        self,
        store: Store,
        members: Members,
        reward: RewardFunction,
        plugins: PluginRegistry,
        learner: Learner,
        *,
        learn_now: bool,
    ) -> None:
        self.store, self.reward = store, reward
        self._members, self._plugins = members, plugins
        self._learner, self._learn_now = learner, learn_now
        self._observed = plugins.implements("on_outcome")
        self._hinted = False
        self.closed = False

    # -- outcomes

    def record(self, decision: Decision | str, outcome: Outcome, outcome_id: str | None, tenant: str | None) -> None:
        """Log what happened; returns only when it is on disk, see ``Router.record``."""
        self.store.writer.append((self.entry(decision, outcome, outcome_id, tenant),))
        if self._observed or self._learn_now:
            self._recorded([(_id_of(decision), outcome)])

    async def arecord(
        self, decision: Decision | str, outcome: Outcome, outcome_id: str | None, tenant: str | None
    ) -> None:
        """``record`` for coroutines: many of them share one commit."""
        if tenant is None or isinstance(decision, Decision):
            entry = self.entry(decision, outcome, outcome_id, tenant)
        else:  # it reads the log
            entry = await asyncio.to_thread(self.entry, decision, outcome, outcome_id, tenant)
        await self.store.writer.aappend((entry,))
        if self._learn_now:
            await asyncio.to_thread(self._recorded, [(_id_of(decision), outcome)])
        else:
            self._recorded([(_id_of(decision), outcome)])

    async def arecord_many(self, reports: Sequence[Report], tenant: str | None) -> list[RouterError | None]:
        """Log many outcomes that stand or fall each by itself, see ``Router.arecord_batch``."""
        if tenant is None:
            checked = self._checked(reports, None)
        else:  # it reads the log
            checked = await asyncio.to_thread(self._checked, reports, tenant)
        faults = [one if isinstance(one, RouterError) else None for one in checked]
        full: dict[str, RouterError] = {}

        def refused(place: int) -> RouterError | None:
            """Why not, where its decision takes no more; what was delivered before under its id is harmless."""
            decision, _, outcome_id = reports[place]
            return full.get(_id_of(decision)) if outcome_id is None else None

        sound = [(place, one) for place, one in enumerate(checked) if isinstance(one, Entry)]
        for start in range(0, len(sound), GROUP_SIZE):
            group = []
            for place, entry in sound[start : start + GROUP_SIZE]:
                faults[place] = refused(place)
                if faults[place] is None:
                    group.append((place, entry))
            if group and not await self._logged([entry for _, entry in group]):
                for place, entry in group:  # one of them, or the store: each says for itself
                    faults[place] = fault = refused(place) or await self._fault(entry)
                    if isinstance(fault, TooManyOutcomesError):
                        full[_id_of(reports[place][0])] = fault
        told = [(_id_of(reports[place][0]), reports[place][1]) for place, _ in sound if faults[place] is None]
        if self._learn_now:
            await asyncio.to_thread(self._recorded, told)
        else:
            self._recorded(told)
        return faults

    async def _logged(self, entries: Sequence[Entry]) -> bool:
        """Log all of them together, or none."""
        try:
            await self.store.writer.aappend(entries)
        except RouterError:
            return False
        return True

    async def _fault(self, entry: Entry) -> RouterError | None:
        """Log one, or return why that cannot be."""
        try:
            await self.store.writer.aappend((entry,))
        except RouterError as error:
            return error
        return None

    def _checked(self, reports: Sequence[Report], tenant: str | None) -> list[Entry | RouterError]:
        """Each outcome ready for the log, or what is wrong with it."""
        found: list[Entry | RouterError] = []
        for decision, outcome, outcome_id in reports:
            try:
                found.append(self.entry(decision, outcome, outcome_id, tenant))
            except RouterError as error:
                found.append(error)
        return found

    def session(self, session_id: object, tenant: str | None) -> list[str]:
        """The decisions of a tenant's session, oldest first; raises where there are none."""
        tenant = check_tenant(tenant)
        self.store.writer.flush()
        ids = self.store.reader.session_decisions(
            self.store.privacy.session(check_key(session_id, "session_id")), tenant
        )
        if not ids:
            whose = "" if tenant is None else f" of tenant {tenant!r}"
            raise UnknownDecisionError(f"session {session_id!r}{whose} has no decisions in the log")
        return ids

    def record_all(self, decision_ids: Sequence[str], outcome: Outcome) -> None:
        """Log one outcome of several decisions; each group of 64 is on disk, or not, as one."""
        self.store.append_all([self.entry(decision_id, outcome) for decision_id in decision_ids])
        self._recorded((decision_id, outcome) for decision_id in decision_ids)

    def entry(
        self,
        decision: Decision | str,
        outcome: Outcome,
        outcome_id: str | None = None,
        tenant: str | None = None,
        *,
        at: float | None = None,
    ) -> Entry:
        """Check an outcome, and whose decision it is about where a tenant is given, and make it ready for the log.

        With a tenant and an id it reads the log. It was said now, or at a time.
        """
        if self.closed:
            raise RouterClosedError
        if outcome_id is not None:
            outcome_id = check_key(outcome_id, "outcome_id")
        for name in (outcome.correct_agent, outcome.agent):
            if name is not None:
                self._members.require_known(name)
        signals = outcome.signals()
        if not self._hinted and isinstance(self.reward, OutcomeReward) and (names := self.reward.unstated(signals)):
            self._hinted = True
            _log.warning(_METRICS_ALONE, ", ".join(names), names[0])
        if tenant is not None:
            tenant = self.store.require_tenant(decision, tenant)
        if not isinstance(decision, Decision):
            return self.store.entry(check_id(decision), outcome, signals, outcome_id=outcome_id, tenant=tenant, at=at)
        checked_reward(self.reward, signals, signals.agent or decision.agent)
        carried = None if decision.durable else decision
        tenant = decision.task.tenant
        return self.store.entry(
            decision.decision_id, outcome, signals, outcome_id=outcome_id, tenant=tenant, decision=carried, at=at
        )

    # -- decisions that somebody else made

    def observe(self, observed: Sequence[Observation]) -> list[Decision]:
        """Log decisions that somebody else made, with what is known of their outcomes, in groups of 64."""
        observed = [_observation(one) for one in each(observed, "observed")]
        decisions = [self.observation(task, agent) for task, agent, _ in observed]
        self.store.append_all(
            [
                Entry(decision=decision) if outcome is None else self.entry(decision, outcome)
                for decision, (_, _, outcome) in zip(decisions, observed, strict=True)
            ]
        )
        for decision, (_, _, outcome) in zip(decisions, observed, strict=True):
            if outcome is not None:
                self._recorded([(decision.decision_id, outcome)])
        return decisions

    def observation(
        self, task: Task, agent: str | None, at: float | None = None, decision_id: str | None = None
    ) -> Decision:
        """A decision that somebody else made; raises where its agent is unknown."""
        agent = plain(agent)
        if agent is not None:
            agent = self._members.require_known(agent)
        everyone = self._members.roster.everyone
        drawn = Distribution(everyone, (), -1, None, None, None, "observed", None, 0.0)
        moment = time.time() if at is None else at
        return Decision(decision_id or new_id(moment), agent, task, moment, None, False, drawn, "observed")

    # -- what follows

    def imported(self, count: int, told: Iterable[tuple[str, Outcome]]) -> None:
        """So many outcomes were written by an import; ``told`` is read only where somebody observes."""
        self._learner.notify(count)
        self._recorded(told)

    def _recorded(self, told: Iterable[tuple[str, Outcome]]) -> None:
        """Tell the observers of outcomes on disk, with their decisions' ids, and learn now where that is asked for."""
        if self._observed:
            for decision_id, outcome in told:
                self._plugins.notify("on_outcome", decision_id=decision_id, outcome=outcome)
        if self._learn_now:
            self._learner.drain()


def _id_of(decision: Decision | str) -> str:
    return decision if isinstance(decision, str) else decision.decision_id
