"""Records to rows and back: what of a decision, a task and an outcome stands in which column."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.records import Skipped, Task
from router_sdk.records.outcome import SCORER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.engine import Connection
    from router_sdk.records import Decision, Outcome, Signals
    from router_sdk.store.privacy import Privacy

MOST_OUTCOMES = 1_000
"""Most outcomes that one decision takes."""
ENOUGH = f"its decision has {MOST_OUTCOMES:,} outcomes, the most there may be"
"""What the database says to one more."""

DECISION_COLUMNS = (
    "seq, decision_id, at, agent, task_type, tenant, source, propensity, explored, strategy, model_version, "
    "confidence, epsilon, favourite, set_id, probabilities, skipped, step, parent_decision_id, session_propensity, "
    "arm, arm_probability"
)
OUTCOME_COLUMNS = (
    "seq, outcome_id, decision_id, at, tenant, success, quality, feedback, correct_agent, no_agent_fits, "
    "latency_ms, cost_usd, tokens, metrics, agent, origin, actor"
)
PAYLOAD_COLUMNS = "seq, session_id, text, features, context, response, feedback_text, error, context_hash, dedupe_hash"
VECTOR_COLUMNS = "seq, encoder, dtype, vector"

MOST_EXCLUDED = 256
"""Agents that were not eligible whom a decision's row names."""

_CONTEXT_FIELDS = {"requires", "history", "max_cost_usd", "max_latency_ms", "metadata"}


class Entry(NamedTuple):
    """An outcome, a decision that must be there with it, or both.

    Attributes:
        outcome: A row of ``outcomes`` without its ``seq``.
        payload: A row of ``payloads`` for the outcome, without its ``seq``.
        decision: Written first, unless the log already holds it.
        notes: Rows of ``meta``, name and value, that are true once this is on disk: how far somebody has come.
    """

    outcome: tuple[Any, ...] | None = None
    payload: tuple[Any, ...] | None = None
    decision: Decision | None = None
    notes: Sequence[tuple[str, str]] = ()


def decision_row(seq: int, decision: Decision) -> tuple[Any, ...]:
    """A row of ``decisions``, in the order of ``DECISION_COLUMNS``."""
    drawn, task = decision.distribution, decision.task
    return (
        seq,
        decision.decision_id,
        decision.at,
        decision.agent,
        task.task_type,
        task.tenant,
        decision.source,
        decision.propensity,
        int(decision.explored),
        drawn.strategy,
        drawn.model_version,
        drawn.confidence,
        drawn.epsilon,
        drawn.favourite,
        drawn.agents.set_id,
        drawn.blob,
        _notes(decision),
        task.step,
        task.parent_decision_id,
        decision.session_propensity,
        decision.arm,
        decision.arm_probability,
    )


def _notes(decision: Decision) -> str | None:
    """Who was asked before, step by step, and at the end who was not eligible, by reason, and further facts."""
    raw = decision.distribution.raw_confidence
    if not (decision.skipped or decision.excluded or decision.favourites):
        return None if raw is None else f'[{{"raw_confidence": {raw!r}}}]'
    notes: list[Any] = [list(step) for step in decision.skipped]
    more: dict[str, Any] = {}
    if decision.excluded:
        by_reason: dict[str, list[str]] = more.setdefault("excluded", {})
        for name, reason in islice(decision.excluded.items(), MOST_EXCLUDED):
            by_reason.setdefault(reason, []).append(name)
    if raw is not None:
        more["raw_confidence"] = raw
    if decision.favourites:
        more["favourites"] = dict(decision.favourites)
    return json.dumps([*notes, more] if more else notes)


class Notes(NamedTuple):
    """What of a decision stands in its row's notes, in the column ``skipped``."""

    skipped: tuple[Skipped, ...]
    excluded: dict[str, str]
    raw_confidence: float | None
    favourites: dict[str, str]


def read_notes(notes: str | None) -> Notes:
    """Inverse of what ``decision_row`` writes."""
    steps = json.loads(notes) if notes else []
    more = steps.pop() if steps and isinstance(steps[-1], dict) else {}
    excluded = {name: reason for reason, names in more.get("excluded", {}).items() for name in names}
    return Notes(
        tuple(Skipped(*step) for step in steps), excluded, more.get("raw_confidence"), more.get("favourites", {})
    )


def task_payload(seq: int, task: Task, privacy: Privacy) -> tuple[Any, ...] | None:
    """A row of ``payloads`` for a task, or None where there is nothing to keep.

    ``context_hash`` is equal for texts that differ in form alone, ``dedupe_hash`` for equal tasks.
    """
    features = json.dumps(privacy.features(task.features)) if task.features else None
    context = None
    if not _CONTEXT_FIELDS.isdisjoint(task.model_fields_set):
        fields = task.model_dump(mode="json", include=_CONTEXT_FIELDS, exclude_defaults=True)
        if "metadata" in fields:
            fields["metadata"] = privacy.value(fields["metadata"])
        context = json.dumps(fields) if fields else None
    text = privacy.text(task.text) if task.text else None
    if text is None and features is None and context is None and task.session_id is None:
        return None
    about = privacy.fingerprint(task.text) if task.text else None
    same = privacy.digest(task.text, features or "", task.task_type)
    return (seq, privacy.session(task.session_id), text, features, context, None, None, None, about, same)


def vector_rows(seq: int, vectors: Mapping[str, NDArray[Any]]) -> list[tuple[Any, ...]]:
    """Rows of ``vectors``: one per encoder that was asked while routing."""
    return [(seq, tag, vector.dtype.str, vector.tobytes()) for tag, vector in vectors.items()]


def outcome_row(
    decision_id: str,
    outcome: Outcome,
    signals: Signals,
    outcome_id: str | None,
    tenant: str | None,
    at: float | None = None,
) -> tuple[Any, ...]:
    """A row of ``outcomes`` without its ``seq``, which only the commit knows; ``at`` is now where it is None."""
    metrics = None if signals.metrics is None else json.dumps(signals.metrics)
    told = (signals.agent, outcome.origin, outcome.actor)
    return (outcome_id, decision_id, time.time() if at is None else at, tenant, *signals[:8], metrics, *told)


def outcome_payload(outcome: Outcome, privacy: Privacy) -> tuple[Any, ...] | None:
    """A row of ``payloads`` for an outcome without its ``seq``, or None where there is nothing to keep."""
    said = (outcome.reason, outcome.response, outcome.feedback_text, outcome.error)
    if said == (None, None, None, None):
        return None
    reason, *texts = map(privacy.text, said)
    context = None if reason is None else json.dumps({"reason": reason})
    return None if (context, *texts) == (None, None, None, None) else (None, None, None, context, *texts, None, None)


# -- back again

TASK_COLUMNS = "d.task_type, d.tenant, d.step, d.parent_decision_id, p.session_id, p.text, p.features, p.context"
"""What ``stored_task`` needs of ``decisions d LEFT JOIN payloads p``."""


def stored_task(row: Sequence[Any]) -> Task:
    """Rebuild a task from ``TASK_COLUMNS``.

    It may hold less than a task that can be routed: privacy and ``forget`` remove texts.
    """
    task_type, tenant, step, parent, session_id, text, features, context = row
    told = {"text", "task_type", "tenant", "session_id"}
    fields: dict[str, Any] = {
        "text": text or "",
        "task_type": task_type,
        "features": {},
        "session_id": session_id,
        "tenant": tenant,
        "requires": frozenset(),
        "history": (),
        "max_cost_usd": None,
        "max_latency_ms": None,
        "metadata": {},
        "step": step,
        "parent_decision_id": parent,
    }
    if step is not None or parent is not None:
        told |= {"step", "parent_decision_id"}
    if features:
        fields["features"] = json.loads(features)
        told.add("features")
    if context:
        rest = json.loads(context)
        fields |= {**rest, "requires": frozenset(rest.get("requires", ())), "history": tuple(rest.get("history", ()))}
        told |= {*rest, "requires", "history"}
    return Task.rebuilt(fields, told)


# -- rows into tables


def insert_sets(connection: Connection, sets: Mapping[int, Sequence[str]]) -> None:
    """Insert sets of agents by their ids; another process may have written the same."""
    rows = [(set_id, "\x00".join(names)) for set_id, names in sets.items()]
    connection.insert_rows("agent_sets", "set_id, names", rows, known=True)


Owner = tuple[str | None, ...]
"""What tells the outcomes of one tenant from another's: its name, or of a decision that is not there, its id and whose
the outcome claims to be. Before its decision comes nobody knows whose it is: a false claim swallows nothing."""

_TENANTS = "SELECT decision_id, tenant FROM decisions WHERE decision_id IN (SELECT value FROM json_each(?))"
_BEFORE = """
SELECT o.outcome_id, o.decision_id, o.tenant, d.decision_id, d.tenant
FROM outcomes o LEFT JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.outcome_id IN (SELECT value FROM json_each(?))
  AND (d.decision_id IS NULL OR o.tenant IS NULL OR o.tenant IS d.tenant)"""
_ERASED = "SELECT decision_id FROM forgotten_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"


class Held:
    """What the log holds already of a group of outcomes, read at once.

    Args:
        connection: To the log, in the transaction that writes them.
        entries: The group.
        decisions: Ids of decisions that are written beside them.

    Attributes:
        forgotten: Decisions that were forgotten: what is said of them later is not kept either, beside the numbers.
    """

    def __init__(self, connection: Connection, entries: Sequence[Entry], decisions: Sequence[str] = ()) -> None:
        named = {row[0] for row, _, _, _ in entries if row is not None and row[0] is not None}
        spoken = {*decisions, *[row[1] for row, payload, _, _ in entries if row is not None and payload is not None]}
        self._tenants: dict[str, str | None] = {}
        self._delivered: dict[Owner, str] = {}
        self.forgotten: set[str] = set()
        of = {row[1] for row, _, _, _ in entries if row is not None and (row[0] is not None or row[3] is not None)}
        if of:
            tenants = connection.execute(_TENANTS, (json.dumps(list(of)),))
            before = connection.execute(_BEFORE, (json.dumps(list(named)),)) if named else ()
            self._tenants = dict(tenants.fetchall())
            for said, decision, claimed, decision_id, tenant in before:
                self._delivered[said, "decision", decision, claimed] = decision
                if decision_id is not None:
                    self._delivered[said, "tenant", tenant] = decision_id
        if spoken:
            self.forgotten = {each for (each,) in connection.execute(_ERASED, (json.dumps(list(spoken)),))}

    def add_decision(self, decision_id: str, tenant: str | None) -> None:
        """It is about to be in the log, and says whose its outcomes are."""
        self._tenants[decision_id] = tenant

    def foreign(self, decision_id: str, claimed: str | None) -> bool:
        """Whether an outcome is of a decision that is there, and another tenant's than it claims."""
        return claimed is not None and self._tenants.get(decision_id, claimed) != claimed

    def earlier(self, outcome_id: str, decision_id: str, claimed: str | None) -> str | None:
        """Of which decision the same owner gave that id before, in the log or here; None the first time."""
        owners: list[Owner] = [("decision", decision_id, claimed)]
        if decision_id in self._tenants:
            tenant = self._tenants[decision_id]
            waiting: list[Owner] = [("decision", decision_id, claim) for claim in (None, tenant)]
            owners = [("tenant", tenant), *waiting]  # what came before the decision
        found = next((of for owner in owners if (of := self._delivered.get((outcome_id, *owner)))), None)
        if found is None:
            self._delivered[(outcome_id, *owners[0])] = decision_id
        return found


GIVEN = f"quality IS NOT NULL AND (actor IS NULL OR substr(actor, 1, {len(SCORER)}) != '{SCORER}')"
"""Of ``outcomes``: somebody said how good it was, and no scorer."""
_JUDGED = f"SELECT 1 FROM outcomes WHERE decision_id = ? AND {GIVEN}"
_QUALITY = OUTCOME_COLUMNS.removeprefix("seq, ").split(", ").index("quality")


def overtaken(connection: Connection, outcome: tuple[Any, ...], beside: Sequence[Entry], held: Held) -> bool:
    """Whether a row is a scorer's, and somebody said how good it was before, or says so in the same group.

    What another tenant says of it there is not written, and overtakes nothing.
    """
    if not _scored(outcome):
        return False
    said = (row for row, *_ in beside if row is not None and row[1] == outcome[1] and not _scored(row))
    given = (row for row in said if not held.foreign(row[1], row[3]))
    return any(row[_QUALITY] is not None for row in given) or bool(connection.execute(_JUDGED, outcome[1:2]).fetchone())


def _scored(outcome: tuple[Any, ...]) -> bool:
    return outcome[-1] is not None and str(outcome[-1]).startswith(SCORER)


_LETTER = "INSERT INTO dead_letters (at, kind, decision_id, reason)"
_ANOTHERS = "its decision is another tenant's"
_FOREIGN = """
SELECT o.seq FROM decisions d JOIN outcomes o ON o.decision_id = d.decision_id
WHERE d.decision_id IN (SELECT value FROM json_each(?)) AND o.seq < ?
AND o.tenant IS NOT NULL AND o.tenant IS NOT d.tenant"""


def refuse_foreign_outcomes(connection: Connection, decision_ids: list[str], before: int) -> None:
    """Outcomes that came before these decisions, for another tenant: they are dead letters now.

    Args:
        connection: To the log, in the transaction that wrote the decisions.
        decision_ids: Which.
        before: The first position of that transaction.
    """
    seqs = json.dumps([seq for (seq,) in connection.execute(_FOREIGN, (json.dumps(decision_ids), before))])
    if seqs == "[]":
        return
    chosen = "seq IN (SELECT value FROM json_each(?))"
    letter = f"{_LETTER} SELECT ?, 'outcome', decision_id, ? FROM outcomes WHERE {chosen}"
    connection.execute(letter, (time.time(), _ANOTHERS, seqs))
    connection.execute(f"DELETE FROM payloads WHERE {chosen}", (seqs,))
    connection.execute(f"DELETE FROM outcomes WHERE {chosen}", (seqs,))


def refuse_at_the_door(connection: Connection, decision_ids: Sequence[str]) -> None:
    """Outcomes of these decisions, which are another tenant's than they claim, are dead letters, and never rows."""
    letters = [(time.time(), "outcome", decision_id, _ANOTHERS) for decision_id in decision_ids]
    connection.executemany(f"{_LETTER} VALUES (?, ?, ?, ?)", letters)
