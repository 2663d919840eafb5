"""Arms that only propose: they are asked about every decision before they hear of it, and what they say is logged.

They are asked on the learner's thread, about what the log holds of the task, with what they had learnt until then. What
they would have done is a decision with ``source="shadow"`` whose parent is the one that was acted on. Nobody acts on it
and nothing comes of it: it is no example, no session's step, and no part of any report but their own. All processes
that learn ask; what the first one logs stands, because the id follows from arm and decision.
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from router_sdk.errors import FAULTS, RouterClosedError, let_end
from router_sdk.evaluation.held_out import FixedContext
from router_sdk.records import AgentSet, Decision
from router_sdk.store.context import PayloadContext
from router_sdk.store.reader import DECISIONS, decision_of
from router_sdk.store.rows import Entry, stored_task

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.experiments.arms import ServingArm
    from router_sdk.routing.agents import Members
    from router_sdk.store import Store
    from router_sdk.strategy import Encoder

_GROUP = 64
"""Decisions in one commit."""
_SERVED = f"""{DECISIONS.replace("SELECT", "SELECT d.seq,", 1)}
WHERE d.seq > ? AND d.seq <= ? AND d.source = 'routed' ORDER BY d.seq"""

_log = logging.getLogger(__name__)


class Shadows:
    """The shadows of this process.

    Args:
        store: The log.
        members: The agents as they are now.
        encoders: Registered encoders by name.
    """

    def __init__(self, store: Store, members: Members, encoders: Mapping[str, Encoder]) -> None:
        self._store, self._members, self._encoders = store, members, encoders
        self._asked: dict[str, int] = {}
        self.arms: tuple[ServingArm, ...] = ()

    def go_on_with(self, arms: Sequence[ServingArm]) -> None:
        """These are asked from now on: about what they have not heard of."""
        self.arms = tuple(arms)
        self._asked = {
            arm.called: self._asked.get(arm.called, max(arm.record.seq, *(fold.cursor for fold in arm.folds)))
            for arm in arms
        }

    def ask(self, upto: int) -> None:
        """Ask them about what was decided up to a position, before anybody learns from what stands there."""
        if not self.arms or self._store.read_only:
            return
        try:
            self._ask(upto)
        except RouterClosedError:
            raise
        except FAULTS as fault:  # who learns goes on all the same
            let_end(fault)
            _log.exception("what shadows say up to %d of the log is not kept", upto)
        self._asked = {called: max(upto, before) for called, before in self._asked.items()}

    def _ask(self, upto: int) -> None:
        for arm in self.arms:  # who learnt for this process has asked
            self._asked[arm.called] = max(self._asked[arm.called], *(fold.cursor for fold in arm.folds))
        since = min(self._asked.values())
        served = self._store.reader.query(lambda connection: _served(connection, since, upto))
        proposed = [
            made
            for arm in self.arms
            for seq, decision in served
            if seq > self._asked[arm.called] and (made := self._proposed(arm, decision)) is not None
        ]
        for start in range(0, len(proposed), _GROUP):
            self._store.writer.append(tuple(Entry(decision=one) for one in proposed[start : start + _GROUP]))

    def _proposed(self, arm: ServingArm, served: Decision) -> Decision | None:
        everyone = self._members.roster.everyone
        names = served.distribution.agents.names
        agents = AgentSet([one for one in everyone if one.name in names]) if names != everyone.names else everyone
        if not agents:
            return None  # all of them have gone
        shadow_id = _id(arm.called, served.decision_id)
        seed = int(shadow_id[12:], 16)
        context = FixedContext(
            seed=seed,
            now=served.at,
            history=served.task.history,
            text=served.task.text,
            encoders=self._encoders,
            vectors=served.vectors,
        )
        drawn, skipped, _ = arm.chain.choose(served.task, agents, context)
        agent, propensity, explored = None, 1.0, False
        if drawn.weights:
            position = min(bisect_right(drawn.cumulative, random.Random(seed).random()), len(drawn.weights) - 1)
            agent, propensity = drawn.agents.names[position], drawn.weights[position]
            explored = position != drawn.favourite
        task = served.task
        shown = stored_task((task.task_type, task.tenant, None, served.decision_id, None, None, None, None))
        return Decision(
            shadow_id,
            agent,
            shown,
            served.at,
            propensity,
            explored,
            drawn,
            "shadow",
            skipped=skipped,
            arm=arm.called,
            arm_probability=1.0,
        )


def _served(connection: Connection, since: int, upto: int) -> list[tuple[int, Decision]]:
    rows = connection.execute(_SERVED, (since, upto)).fetchall()
    context = PayloadContext(connection, [row[0] for row in rows])

    def found() -> Iterator[tuple[int, Decision]]:
        for seq, *row in rows:
            decision = decision_of(row)
            decision.vectors = context.vectors(seq)
            yield seq, decision

    return list(found())


def _id(arm: str, decision_id: str) -> str:
    """The id of what an arm proposed in the place of a decision; it sorts as that does."""
    return decision_id[:12] + blake2b(f"{arm}\x00{decision_id}".encode(), digest_size=10).hexdigest()
