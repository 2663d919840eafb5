"""What the log holds of a decision, whole, to be written into another log in the same order, each part once.

Learning follows the order of the log. So a copy is written in the order of its source, and gives what the source gave.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.records import Agent, Outcome
from router_sdk.store.agents import canonical
from router_sdk.store.context import PayloadContext
from router_sdk.store.reader import DECISIONS, decision_of
from router_sdk.store.rows import (
    DECISION_COLUMNS,
    MOST_OUTCOMES,
    OUTCOME_COLUMNS,
    PAYLOAD_COLUMNS,
    VECTOR_COLUMNS,
    Entry,
    Held,
    decision_row,
    insert_sets,
    refuse_foreign_outcomes,
    task_payload,
    vector_rows,
)
from router_sdk.store.transaction import LogClock

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.records import Decision
    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.privacy import Privacy

_PARTS = """
SELECT o.decision_id, o.seq, o.at, o.logged_at, o.outcome_id, o.tenant, o.success, o.quality, o.feedback,
       o.correct_agent, o.no_agent_fits, o.latency_ms, o.cost_usd, o.tokens, o.metrics, o.agent, o.origin, o.actor,
       p.response, p.feedback_text, p.error, p.context
FROM outcomes o LEFT JOIN payloads p ON p.seq = o.seq
WHERE o.decision_id IN (SELECT value FROM json_each(?)) ORDER BY o.seq"""
_PART_FIELDS = (
    *("success", "quality", "feedback", "correct_agent", "no_agent_fits", "latency_ms", "cost_usd", "tokens"),
    *("metrics", "agent", "origin", "actor", "response", "feedback_text", "error"),
)
_FRESH = "SELECT seq, at, record FROM agents WHERE fresh = 1 ORDER BY seq"
_ROW = OUTCOME_COLUMNS.removeprefix("seq, ")
_TENANT = DECISION_COLUMNS.split(", ").index("tenant") - 1
_AT, _NUMBERS = 2, 4
"""Where an outcome's row, without its ``seq``, has its time, and where its parts begin."""


class LoggedPart(NamedTuple):
    """One delivered part of an outcome.

    Attributes:
        position: In the log.
        at: When it arrived, in seconds since the epoch, by the clock of the process that wrote it.
        logged_at: The log's time of it, by which what fades with age goes.
        outcome: What it says; its parts may all be None where what it said was forgotten.
        outcome_id: The caller's id of the delivery, or None.
        tenant: Whose it is.
    """

    position: int
    at: float
    logged_at: float
    outcome: Outcome
    outcome_id: str | None
    tenant: str | None


class LoggedDecision(NamedTuple):
    """A decision with its position, and all that was said of it, in order."""

    position: int
    decision: Decision
    parts: tuple[LoggedPart, ...]


class FreshStart(NamedTuple):
    """An agent was added afresh: from there on its past does not count."""

    position: int
    at: float
    agent: Agent


def read_decisions(connection: Connection, seqs: Sequence[int]) -> list[LoggedDecision]:
    """All that the log holds of these decisions, in its order."""
    query = f"{DECISIONS.replace('SELECT', 'SELECT d.seq,', 1)} WHERE d.seq IN (SELECT value FROM json_each(?))"
    rows = connection.execute(f"{query} ORDER BY d.seq", (json.dumps(list(seqs)),)).fetchall()
    context = PayloadContext(connection, [row[0] for row in rows])
    said: dict[str, list[LoggedPart]] = {}
    ids = json.dumps([row[1] for row in rows])
    for decision_id, *row in connection.execute(_PARTS, (ids,)):
        said.setdefault(decision_id, []).append(_part(row))
    found = []
    for seq, *row in rows:
        decision = decision_of(row)
        decision.vectors = context.vectors(seq)
        found.append(LoggedDecision(seq, decision, tuple(said.get(decision.decision_id, ()))))
    return found


def _part(row: Sequence[Any]) -> LoggedPart:
    seq, at, logged_at, outcome_id, tenant, *values, context = row
    fields = {name: value for name, value in zip(_PART_FIELDS, values, strict=True) if value is not None}
    for name in fields.keys() & {"success", "no_agent_fits"}:
        fields[name] = bool(fields[name])
    if "metrics" in fields:
        fields["metrics"] = json.loads(fields["metrics"])
    reason = None if context is None else json.loads(context).get("reason")
    if reason is not None:
        fields["reason"] = reason
    return LoggedPart(seq, at, logged_at, Outcome.model_construct(**fields), outcome_id, tenant)


def read_fresh_starts(connection: Connection) -> list[FreshStart]:
    """When which agent was added afresh, oldest first."""
    return [FreshStart(seq, at, Agent(**json.loads(record))) for seq, at, record in connection.execute(_FRESH)]


# -- into another log


class CopiedDecision(NamedTuple):
    """A decision on its way into a log.

    Attributes:
        row: Of ``decisions``, without its ``seq``.
        payload: Of ``payloads``, without its ``seq``, or None.
        vectors: Of ``vectors``, without their ``seq``.
        agents: The set of agents that it names: its id, and the names.
    """

    row: tuple[Any, ...]
    payload: tuple[Any, ...] | None
    vectors: tuple[tuple[Any, ...], ...]
    agents: tuple[int, tuple[str, ...]]

    @classmethod
    def of(cls, decision: Decision, privacy: Privacy) -> CopiedDecision:
        """What is stored of a decision."""
        payload = task_payload(0, decision.task, privacy)
        vectors = vector_rows(0, decision.vectors) if decision.vectors else []
        agents = decision.distribution.agents
        return cls(
            decision_row(0, decision)[1:],
            None if payload is None else payload[1:],
            tuple(row[1:] for row in vectors),
            (agents.set_id, agents.names),
        )


class CopiedPart(NamedTuple):
    """A part on its way into a log.

    Attributes:
        row: Of ``outcomes``, without its ``seq``.
        payload: Of ``payloads``, without its ``seq``, or None.
        nth: Which of the parts of its decision that came at that time with these numbers, from 1: a part without an id
            is known by them.
        logged_at: The log's time of it, where it comes from.
    """

    row: tuple[Any, ...]
    payload: tuple[Any, ...] | None
    nth: int
    logged_at: float


def numbered(rows: Iterable[tuple[Any, ...]]) -> Iterator[int]:
    """Of each of one decision's rows, which one of its equals it is, see ``CopiedPart``."""
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        seen[_content(row)] += 1
        yield seen[_content(row)]


def _content(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (row[_AT], *row[_NUMBERS:])


@dataclass(slots=True)
class _Rows:
    """What is to be inserted."""

    clock: LogClock
    sets: dict[int, Sequence[str]] = field(default_factory=dict)
    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    outcomes: list[tuple[Any, ...]] = field(default_factory=list)
    payloads: list[tuple[Any, ...]] = field(default_factory=list)
    vectors: list[tuple[Any, ...]] = field(default_factory=list)
    agents: list[tuple[Any, ...]] = field(default_factory=list)


Event = CopiedDecision | CopiedPart | FreshStart


def write_copies(writer: LogWriter, events: Sequence[Event]) -> list[bool | str]:
    """Write events in their order, all in one transaction; what the log holds already is not written again.

    Args:
        writer: The log.
        events: In the order of the log that they come from.

    Returns:
        Of each whether it was written, or why it cannot be.

    Raises:
        StoreUnavailableError: if the log cannot be written; nothing of it is then.
    """

    def work(connection: Connection, seq: int) -> list[bool | str]:
        known = _Known(connection, events)
        rows = _Rows(LogClock())
        rows.clock.read(connection)
        told: list[bool | str] = []
        for event in events:
            verdict = known.misses(event)
            told.append(verdict)
            if verdict is True:
                _add(rows, seq, event, known)
                seq += 1
        insert_sets(connection, rows.sets)
        connection.insert_rows("decisions", DECISION_COLUMNS, rows.decisions)
        refuse_foreign_outcomes(connection, [row[1] for row in rows.decisions], seq)
        connection.insert_rows("outcomes", f"{OUTCOME_COLUMNS}, logged_at", rows.outcomes)
        rows.clock.note(connection)
        connection.insert_rows("payloads", PAYLOAD_COLUMNS, rows.payloads)
        connection.insert_rows("vectors", VECTOR_COLUMNS, rows.vectors)
        connection.insert_rows("agents", "seq, name, status, fresh, record, at", rows.agents)
        return told

    return writer.transact(work)


def _add(rows: _Rows, seq: int, event: Event, known: _Known) -> None:
    if isinstance(event, CopiedPart):
        rows.outcomes.append((seq, *event.row, rows.clock.stamp_copy(event.logged_at)))
        if event.payload is not None and event.row[1] not in known.held.forgotten:
            rows.payloads.append((seq, *event.payload))
    elif isinstance(event, FreshStart):
        status, record = known.record(event.agent)
        rows.agents.append((seq, event.agent.name, status, 1, record, event.at))
    else:
        rows.sets.update([event.agents])
        rows.decisions.append((seq, *known.foreign(event.row)))
        if event.row[0] not in known.held.forgotten:
            rows.payloads += [] if event.payload is None else [(seq, *event.payload)]
            rows.vectors += [(seq, *vector) for vector in event.vectors]


class _Known:
    """What the log holds, and what of a transaction is about to be in it.

    Args:
        connection: To the log.
        events: What is to be written.

    Attributes:
        held: What the log holds of the parts among them.
    """

    def __init__(self, connection: Connection, events: Sequence[Event]) -> None:
        self._connection = connection
        parts = [Entry(one.row, one.payload) for one in events if isinstance(one, CopiedPart)]
        self.held = Held(connection, parts, [one.row[0] for one in events if isinstance(one, CopiedDecision)])
        self._new_decisions: set[str] = set()
        self._contents: dict[str, Counter[tuple[Any, ...]]] = {}
        self._rooms: dict[str, int] = {}
        self._new_parts: set[tuple[Any, ...]] = set()

    def _one(self, query: str, *values: Any) -> Any:
        return self._connection.execute(query, values).fetchone()

    def foreign(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A decision's row, without its arm where an experiment here has the name of the one that it came from."""
        name = (row[-2] or "").partition("/")[0]
        return (*row[:-2], None, None) if self._one("SELECT 1 FROM experiments WHERE experiment = ?", name) else row

    def misses(self, event: Event) -> bool | str:
        """Whether it is to be written; or why it cannot be."""
        if isinstance(event, CopiedPart):
            return self._misses_part(event)
        if isinstance(event, FreshStart):
            return self._misses_fresh(event)
        decision_id = event.row[0]
        query = "SELECT 1 FROM decisions WHERE decision_id = ?"
        if decision_id in self._new_decisions or self._one(query, decision_id):
            return False
        self._new_decisions.add(decision_id)
        self.held.add_decision(decision_id, event.row[_TENANT])
        return True

    def _misses_part(self, part: CopiedPart) -> bool | str:
        outcome_id, decision_id, _, tenant = part.row[:4]
        missed = self._misses_delivery(part, outcome_id, decision_id, tenant)
        if missed is True:
            if self._room(decision_id) <= 0:
                return f"decision {decision_id} has {MOST_OUTCOMES:,} outcomes, the most there may be"
            self._rooms[decision_id] -= 1
        return missed

    def _room(self, decision_id: str) -> int:
        """How many outcomes a decision still takes."""
        if decision_id not in self._rooms:
            (count,) = self._one("SELECT count(*) FROM outcomes WHERE decision_id = ?", decision_id)
            self._rooms[decision_id] = MOST_OUTCOMES - count
        return self._rooms[decision_id]

    def _misses_delivery(
        self, part: CopiedPart, outcome_id: str | None, decision_id: str, tenant: str | None
    ) -> bool | str:
        if outcome_id is not None:
            of = self.held.earlier(outcome_id, decision_id, tenant)
            if of is not None and of != decision_id:
                return f"outcome_id {outcome_id!r} is already that of an outcome of decision {of}"
            return of is None
        held = self._contents.get(decision_id)
        if held is None:
            query = f"SELECT {_ROW} FROM outcomes WHERE decision_id = ?"
            held = Counter(_content(row) for row in self._connection.execute(query, (decision_id,)))
            self._contents[decision_id] = held
        itself = (decision_id, part.nth, *_content(part.row))
        if held[_content(part.row)] >= part.nth or itself in self._new_parts:
            return False
        self._new_parts.add(itself)
        return True

    def _misses_fresh(self, event: FreshStart) -> bool:
        """Not where it is there, nor where the log holds later decisions of that agent: those would count no more."""
        name = event.agent.name
        query = "SELECT 1 FROM agents WHERE name = ? AND fresh = 1 AND at >= ?"
        later = "SELECT 1 FROM decisions WHERE agent = ? AND at > ?"
        return not (self._one(query, name, event.at) or self._one(later, name, event.at))

    def record(self, agent: Agent) -> tuple[str, str]:
        """What the log holds of an agent, or else what the copy says."""
        found = self._one("SELECT status, record FROM agents WHERE name = ? ORDER BY seq DESC LIMIT 1", agent.name)
        return found or ("active", canonical(agent))
