"""What was known when a decision was made, loaded for a whole batch at the first question."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from router_sdk.records import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOTHING: Mapping[str, Any] = MappingProxyType({})


TASK_COLUMNS = "d.task_type, d.tenant, d.step, d.parent_decision_id, p.session_id, p.text, p.features, p.context"
"""What ``stored_task`` needs of ``decisions d LEFT JOIN payloads p``."""


def stored_task(row: Sequence[Any]) -> Task:
    """Rebuild a task from ``TASK_COLUMNS``.

    It may hold less than a task that can be routed: privacy and ``forget`` remove texts.
    """
    task_type, tenant, step, parent, session_id, text, features, context = row
    fields: dict[str, Any] = {"text": text or "", "task_type": task_type, "tenant": tenant, "session_id": session_id}
    if step is not None or parent is not None:
        fields |= {"step": step, "parent_decision_id": parent}
    if features:
        fields["features"] = json.loads(features)
    if context:
        rest = json.loads(context)
        fields |= {**rest, "requires": frozenset(rest.get("requires", ())), "history": tuple(rest.get("history", ()))}
    return Task.model_construct(**fields)


class PayloadContext:
    """The ``Context`` of all examples of one batch.

    Must be asked on the thread that reads the log, while it handles the batch.

    Args:
        connection: The reading connection.
        seqs: Positions of the batch's decisions, or rows that begin with them.
    """

    def __init__(self, connection: sqlite3.Connection, seqs: Iterable[int | Sequence[Any]]) -> None:
        self._connection = connection
        self._wanted = seqs

    @cached_property
    def _seqs(self) -> str:
        """The positions as a JSON array, for ``json_each``: one parameter whatever their number."""
        return json.dumps([seq if isinstance(seq, int) else seq[0] for seq in self._wanted])

    @cached_property
    def _tasks(self) -> dict[int, Task]:
        query = f"""SELECT d.seq, {TASK_COLUMNS} FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
                    WHERE d.seq IN (SELECT value FROM json_each(?))"""
        return {seq: stored_task(rest) for seq, *rest in self._connection.execute(query, (self._seqs,))}

    @cached_property
    def _hashes(self) -> dict[int, tuple[str | None, str | None]]:
        query = """SELECT seq, context_hash, dedupe_hash FROM payloads
                   WHERE seq IN (SELECT value FROM json_each(?))"""
        return {seq: (about, same) for seq, about, same in self._connection.execute(query, (self._seqs,))}

    @cached_property
    def _vectors(self) -> dict[int, dict[str, NDArray[Any]]]:
        import numpy as np

        found: dict[int, dict[str, NDArray[Any]]] = {}
        query = "SELECT seq, encoder, dtype, vector FROM vectors WHERE seq IN (SELECT value FROM json_each(?))"
        for seq, encoder, dtype, vector in self._connection.execute(query, (self._seqs,)):
            found.setdefault(seq, {})[encoder] = np.frombuffer(vector, dtype=dtype)
        return found

    @cached_property
    def _drawn(self) -> dict[int, tuple[tuple[str, ...], bytes]]:
        query = """SELECT d.seq, d.set_id, d.probabilities FROM decisions d
                   WHERE d.seq IN (SELECT value FROM json_each(?))"""
        rows = self._connection.execute(query, (self._seqs,)).fetchall()
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
        return self._tasks[decision_seq]

    def hashes(self, decision_seq: int) -> tuple[str | None, str | None]:
        """Its ``context_hash``, equal for texts that differ in form alone, and its ``dedupe_hash``, for equal tasks."""
        return self._hashes.get(decision_seq, (None, None))

    def vectors(self, decision_seq: int) -> Mapping[str, NDArray[Any]]:
        """Logged embeddings by encoder tag."""
        return self._vectors.get(decision_seq, _NOTHING)

    def eligible(self, decision_seq: int) -> tuple[str, ...]:
        """Names of the agents that were eligible."""
        return self._drawn[decision_seq][0]

    def probabilities(self, decision_seq: int) -> Mapping[str, float]:
        """Logged probabilities; empty where somebody else decided."""
        names, blob = self._drawn[decision_seq]
        return dict(zip(names, array("f", blob), strict=True)) if blob else _NOTHING
