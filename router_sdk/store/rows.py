"""Records to rows and back: what of a decision, a task and an outcome stands in which column."""

from __future__ import annotations

import json
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from router_sdk.records import Skipped, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records import Decision, Outcome, Signals
    from router_sdk.store.privacy import Privacy

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
    """

    outcome: tuple[Any, ...] | None = None
    payload: tuple[Any, ...] | None = None
    decision: Decision | None = None


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
        _notes(decision) if decision.skipped or decision.excluded else None,
        task.step,
        task.parent_decision_id,
        decision.session_propensity,
        decision.arm,
        decision.arm_probability,
    )


def _notes(decision: Decision) -> str:
    """Who was asked before, step by step, and at the end who was not eligible, by reason."""
    notes: list[Any] = [list(step) for step in decision.skipped]
    if decision.excluded:
        by_reason: dict[str, list[str]] = {}
        for name, reason in islice(decision.excluded.items(), MOST_EXCLUDED):
            by_reason.setdefault(reason, []).append(name)
        notes.append({"excluded": by_reason})
    return json.dumps(notes)


def read_notes(notes: str | None) -> tuple[tuple[Skipped, ...], dict[str, str]]:
    """Inverse of what ``decision_row`` writes: ``Decision.skipped`` and ``Decision.excluded``."""
    steps = json.loads(notes) if notes else []
    by_reason = steps.pop()["excluded"] if steps and isinstance(steps[-1], dict) else {}
    excluded = {name: reason for reason, names in by_reason.items() for name in names}
    return tuple(Skipped(*step) for step in steps), excluded


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
    if outcome.response is None and outcome.feedback_text is None and outcome.error is None:
        return None
    texts = (privacy.text(outcome.response), privacy.text(outcome.feedback_text), privacy.text(outcome.error))
    return None if texts == (None, None, None) else (None, None, None, None, *texts, None, None)


# -- back again

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FEW = 8
"""Questions about a batch that are answered one by one: who asks more often asks about all of it."""

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


class _Lot(Generic[T]):
    """One thing that was known of each decision of a batch: the first few are read one by one, then all at once.

    Args:
        read: Reads it of the decisions at these positions, given as a JSON array, for ``json_each``.
        wanted: The positions of all.
    """

    def __init__(self, read: Callable[[str], dict[int, T]], wanted: Callable[[], frozenset[int]]) -> None:
        self._read, self._wanted = read, wanted
        self._found: dict[int, T | None] = {}
        self._asked = 0
        self._whole = False

    def load(self, seqs: Sequence[int] | None = None) -> None:
        """Read what is not read yet: of all, or of these."""
        if self._whole:
            return
        if seqs is None:
            self._found, self._whole = {**self._read(json.dumps(list(self._wanted())))}, True
        else:
            missing = [seq for seq in seqs if seq not in self._found and seq in self._wanted()]
            self._found |= {**dict.fromkeys(missing), **self._read(json.dumps(missing))}

    def get(self, seq: int) -> T | None:
        """Of one decision; None where there is nothing."""
        if not self._whole and seq not in self._found:
            self._asked += 1
            self.load([seq] if self._asked <= _FEW else None)
        return self._found.get(seq)


class PayloadContext:
    """The ``Context`` of all examples of one batch.

    Must be asked on the thread that reads the log, while it handles the batch, or be loaded then.

    Args:
        connection: The reading connection.
        seqs: Positions of the batch's decisions, or rows that begin with them.
    """

    def __init__(self, connection: sqlite3.Connection, seqs: Iterable[int | Sequence[Any]]) -> None:
        self._connection = connection
        self._seqs = seqs
        self._tasks, self._hashes = _Lot(self._read_tasks, self._wanted), _Lot(self._read_hashes, self._wanted)
        self._vectors, self._drawn = _Lot(self._read_vectors, self._wanted), _Lot(self._read_drawn, self._wanted)

    @cached_property
    def _positions(self) -> frozenset[int]:
        return frozenset(seq if isinstance(seq, int) else seq[0] for seq in self._seqs)

    def _wanted(self) -> frozenset[int]:
        return self._positions

    def load(self) -> None:
        """Read tasks, vectors and who was eligible now, so that other threads may ask."""
        for lot in (self._tasks, self._vectors, self._drawn):
            lot.load()

    def peek(self, seqs: Sequence[int]) -> list[tuple[Task, Mapping[str, NDArray[Any]]]]:
        """Tasks and vectors of these decisions, for which no others are read."""
        self._tasks.load(seqs)
        self._vectors.load(seqs)
        return [(self.task(seq), self.vectors(seq)) for seq in seqs]

    def _read_tasks(self, seqs: str) -> dict[int, Task]:
        query = f"""SELECT d.seq, {TASK_COLUMNS} FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
                    WHERE d.seq IN (SELECT value FROM json_each(?))"""
        return {row[0]: stored_task(row[1:]) for row in self._connection.execute(query, (seqs,))}

    def _read_hashes(self, seqs: str) -> dict[int, tuple[str | None, str | None]]:
        query = """SELECT seq, context_hash, dedupe_hash FROM payloads
                   WHERE seq IN (SELECT value FROM json_each(?))"""
        return {seq: (about, same) for seq, about, same in self._connection.execute(query, (seqs,))}

    def _read_vectors(self, seqs: str) -> dict[int, dict[str, NDArray[Any]]]:
        import numpy as np

        found: dict[int, dict[str, NDArray[Any]]] = {}
        kinds: dict[str, np.dtype[Any]] = {}
        query = "SELECT seq, encoder, dtype, vector FROM vectors WHERE seq IN (SELECT value FROM json_each(?))"
        for seq, encoder, dtype, vector in self._connection.execute(query, (seqs,)):
            kind = kinds.get(dtype)
            if kind is None:
                kind = kinds[dtype] = np.dtype(dtype)
            found.setdefault(seq, {})[encoder] = np.frombuffer(vector, kind)
        return found

    def _read_drawn(self, seqs: str) -> dict[int, tuple[tuple[str, ...], bytes]]:
        query = """SELECT d.seq, d.set_id, d.probabilities FROM decisions d
                   WHERE d.seq IN (SELECT value FROM json_each(?))"""
        rows = self._connection.execute(query, (seqs,)).fetchall()
        sets = {
            set_id: tuple(names.split("\x00")) if names else ()
            for set_id, names in self._connection.execute(
                "SELECT set_id, names FROM agent_sets WHERE set_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list({row[1] for row in rows})),),
            )
        }
        return {seq: (sets[set_id], blob) for seq, set_id, blob in rows}

    def task(self, decision_seq: int) -> Task:
        """The routed task; without its text where privacy or ``forget`` removed it."""
        return _known(self._tasks.get(decision_seq), decision_seq)

    def hashes(self, decision_seq: int) -> tuple[str | None, str | None]:
        """Its ``context_hash``, equal for texts that differ in form alone, and its ``dedupe_hash``, for equal tasks."""
        return self._hashes.get(decision_seq) or (None, None)

    def vectors(self, decision_seq: int) -> Mapping[str, NDArray[Any]]:
        """Logged embeddings by encoder tag."""
        return self._vectors.get(decision_seq) or _NOTHING

    def eligible(self, decision_seq: int) -> tuple[str, ...]:
        """Names of the agents that were eligible."""
        return _known(self._drawn.get(decision_seq), decision_seq)[0]

    def probabilities(self, decision_seq: int) -> Mapping[str, float]:
        """Logged probabilities; empty where somebody else decided."""
        names, blob = _known(self._drawn.get(decision_seq), decision_seq)
        return dict(zip(names, array("f", blob), strict=True)) if blob else _NOTHING


def _known(found: T | None, decision_seq: int) -> T:
    if found is None:
        raise KeyError(decision_seq)
    return found


# -- rows into tables

_ROWS = 256


@lru_cache(maxsize=1024)
def _insert(table: str, columns: str, rows: int, verb: str) -> str:
    """One multi-row INSERT: a statement per row would hand the interpreter lock back and forth."""
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"{verb} INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"


def insert_rows(
    connection: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]], *, verb: str = "INSERT"
) -> None:
    """Insert all rows, 256 to a statement: SQLite binds a limited number of values."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        values = part[0] if len(part) == 1 else tuple(chain.from_iterable(part))
        connection.execute(_insert(table, columns, len(part), verb), values)


def insert_sets(connection: sqlite3.Connection, sets: Mapping[int, Sequence[str]]) -> None:
    """Insert sets of agents by their ids; another process may have written the same."""
    rows = [(set_id, "\x00".join(names)) for set_id, names in sets.items()]
    insert_rows(connection, "agent_sets", "set_id, names", rows, verb="INSERT OR IGNORE")


Owner = tuple[str | None, ...]
"""What tells the outcomes of one tenant from another's: its name, or of a decision that is not there, its id and whose
the outcome claims to be. Before its decision comes nobody knows whose it is: a false claim swallows nothing."""

_DELIVERED = {
    "tenant": """SELECT o.decision_id FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
                 WHERE o.outcome_id = ? AND d.tenant IS ?""",
    "decision": "SELECT decision_id FROM outcomes WHERE outcome_id = ? AND decision_id = ? AND tenant IS ?",
}


def delivered(connection: sqlite3.Connection, outcome_id: str, owner: Owner) -> str | None:
    """Of which decision there is an outcome of that id of the same owner."""
    kind, *names = owner
    found = connection.execute(_DELIVERED[str(kind)], (outcome_id, *names)).fetchone()
    return None if found is None else str(found[0])


def owner_of(connection: sqlite3.Connection, decision_id: str, claimed: str | None) -> Owner:
    """Whose an outcome of a decision is that claims to be a tenant's, or nobody's."""
    row = connection.execute("SELECT tenant FROM decisions WHERE decision_id = ?", (decision_id,)).fetchone()
    return ("decision", decision_id, claimed) if row is None else ("tenant", row[0])


_FOREIGN = """
SELECT o.seq FROM decisions d JOIN outcomes o ON o.decision_id = d.decision_id
WHERE d.decision_id IN (SELECT value FROM json_each(?)) AND o.tenant IS NOT NULL AND o.tenant IS NOT d.tenant"""


def refuse_foreign_outcomes(connection: sqlite3.Connection, decision_ids: list[str]) -> None:
    """Outcomes that came before these decisions, for another tenant: they are dead letters now."""
    seqs = json.dumps([seq for (seq,) in connection.execute(_FOREIGN, (json.dumps(decision_ids),))])
    if seqs == "[]":
        return
    chosen = "seq IN (SELECT value FROM json_each(?))"
    connection.execute(
        f"""INSERT INTO dead_letters (at, kind, decision_id, reason)
            SELECT ?, 'outcome', decision_id, 'its decision is another tenant''s' FROM outcomes WHERE {chosen}""",
        (time.time(), seqs),
    )
    connection.execute(f"DELETE FROM payloads WHERE {chosen}", (seqs,))
    connection.execute(f"DELETE FROM outcomes WHERE {chosen}", (seqs,))


def forgotten(connection: sqlite3.Connection, decision_id: str) -> bool:
    """Whether a decision was forgotten: what is said of it later is not kept either, beside the numbers."""
    query = "SELECT 1 FROM forgotten_decisions WHERE decision_id = ?"
    return connection.execute(query, (decision_id,)).fetchone() is not None
