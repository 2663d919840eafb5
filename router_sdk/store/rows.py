"""Records to rows: which columns a decision and an outcome fill."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.records import Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.records import Decision, Outcome, Signals, Task
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
