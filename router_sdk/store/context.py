"""What was known when decisions were made, read for a whole batch of examples at the first question."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from router_sdk.records import Forecast, LoggedTexts, Task
from router_sdk.store.rows import TASK_COLUMNS, read_notes, stored_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk.engine import Connection

T = TypeVar("T")

_RAW, _FAVOURITES = "raw_confidence", '"favourites"'
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FEW = 8
"""Questions about a batch that are answered one by one: who asks more often asks about all of it."""

_FORECASTS = """
SELECT d.seq, d.strategy, d.model_version, d.skipped, d.confidence, d.tenant, d.propensity,
  CASE WHEN d.propensity <= 0.5 THEN d.probabilities END, d.favourite, d.explored = 0
FROM decisions d WHERE d.seq IN (SELECT value FROM json_each(?))
  AND d.source = 'routed' AND (d.explored = 0 OR d.propensity <= 0.5) AND d.favourite >= 0
  AND d.confidence IS NOT NULL"""

_COMPARED = f"""
SELECT seq, skipped FROM decisions
WHERE seq IN (SELECT value FROM json_each(?)) AND source = 'routed' AND skipped LIKE '%{_FAVOURITES}%'"""

_TEXTS = """
SELECT d.seq, d.set_id, d.propensity, v.vector, v.dtype
FROM decisions d JOIN vectors v ON v.seq = d.seq AND v.encoder = ? LEFT JOIN payloads p ON p.seq = d.seq
WHERE d.seq IN (SELECT value FROM json_each(?)) AND d.propensity IS NOT NULL AND p.features IS NULL"""

NEWCOMERS = """
SELECT min(seq) AS seq, name FROM agents GROUP BY name UNION SELECT seq, name FROM agents WHERE fresh = 1 ORDER BY 1"""
"""Positions at which agents came whom the log did not know, or not any more."""


class _Lot(Generic[T]):
    """One thing that was known of each decision of a batch: the first few are read one by one, then all at once.

    Args:
        read: Reads it of the decisions at these positions, given as a JSON array, for ``json_each``.
        wanted: The positions of all.
        few: How many are the first few.
    """

    def __init__(
        self, read: Callable[[str], dict[int, T]], wanted: Callable[[], frozenset[int]], few: int = _FEW
    ) -> None:
        self._read, self._wanted, self._few = read, wanted, few
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
            self.load([seq] if self._asked <= self._few else None)
        return self._found.get(seq)

    def of(self, seqs: Sequence[int]) -> list[T | None]:
        """Of a few decisions, for which no others are read."""
        self.load(seqs)
        return list(map(self._found.get, seqs))


class PayloadContext:
    """The ``Context`` of all examples of one batch.

    Must be asked on the thread that reads the log, while it handles the batch, or be loaded then.

    Args:
        connection: The reading connection.
        seqs: Positions of the batch's decisions.
    """

    def __init__(self, connection: Connection, seqs: Iterable[int]) -> None:
        self._connection = connection
        self._seqs = seqs
        self._tasks, self._hashes = _Lot(self._read_tasks, self._wanted), _Lot(self._read_hashes, self._wanted)
        self._vectors, self._drawn = _Lot(self._read_vectors, self._wanted), _Lot(self._read_drawn, self._wanted)
        self._forecasts = _Lot(self._read_forecasts, self._wanted, few=0)  # every batch is calibrated by all of its own
        self._favourites = _Lot(self._read_favourites, self._wanted)

    @cached_property
    def _positions(self) -> frozenset[int]:
        return frozenset(self._seqs)

    def _wanted(self) -> frozenset[int]:
        return self._positions

    def load(self) -> None:
        """Read tasks, vectors and who was eligible now, so that other threads may ask."""
        for lot in (self._tasks, self._vectors, self._drawn, self._forecasts, self._favourites):
            lot.load()

    def peek(self, seqs: Sequence[int]) -> list[tuple[Task, Mapping[str, NDArray[Any]]]]:
        """Tasks and vectors of these decisions, for which no others are read."""
        found = zip(seqs, self._tasks.of(seqs), self._vectors.of(seqs), strict=True)
        return [(_known(task, seq), vectors or _NOTHING) for seq, task, vectors in found]

    def texts(self, seqs: Sequence[int], tag: str) -> LoggedTexts | None:
        """What was known of these decisions; None where one had features, no logged vector, or was not the router's."""
        import numpy as np

        rows = {row[0]: row for row in self._connection.execute(_TEXTS, (tag, json.dumps(seqs)))}
        try:
            _, set_ids, propensities, blobs, dtypes = zip(*map(rows.__getitem__, seqs), strict=True)
        except KeyError:
            return None
        sets, kinds = self._sets(set_ids), {dtype: np.dtype(dtype) for dtype in set(dtypes)}
        vectors: Sequence[NDArray[Any]] | NDArray[Any]
        if len(kinds) == 1 and len(set(map(len, blobs))) == 1 and blobs[0]:
            vectors = np.frombuffer(b"".join(blobs), kinds[dtypes[0]]).reshape(len(blobs), -1)
        else:
            vectors = [np.frombuffer(blob, kinds[dtype]) for blob, dtype in zip(blobs, dtypes, strict=True)]
        return LoggedTexts([sets[set_id] for set_id in set_ids], propensities, vectors)

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
        sets = self._sets(row[1] for row in rows)
        return {seq: (sets[set_id], blob) for seq, set_id, blob in rows}

    def _sets(self, set_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """The agents' names of each of these sets."""
        query = "SELECT set_id, names FROM agent_sets WHERE set_id IN (SELECT value FROM json_each(?))"
        found = self._connection.execute(query, (json.dumps(list(set(set_ids))),))
        return {set_id: tuple(names.split("\x00")) if names else () for set_id, names in found}

    def _read_forecasts(self, seqs: str) -> dict[int, Forecast]:
        rows = self._connection.execute(_FORECASTS, (seqs,)).fetchall()
        if not rows:
            return {}
        asked, strategies, versions, notes, confidences, tenants, *drawn, liked = zip(*rows, strict=True)
        raw = [read_notes(note).raw_confidence if note and _RAW in note else None for note in notes]
        given = [told if was is None else was for told, was in zip(confidences, raw, strict=True)]
        came = [(0, None), *self._connection.execute(NEWCOMERS)]
        positions = [seq for seq, _ in came]
        since, newcomers = zip(*[came[bisect_right(positions, seq) - 1] for seq in asked], strict=True)
        chances = list(map(_chance_of_the_like, *drawn))
        columns = strategies, versions, given, tenants, since, newcomers, chances, map(bool, liked)
        made = map(Forecast._make, zip(*columns, strict=True))
        return {seq: one for seq, one, chance in zip(asked, made, chances, strict=True) if chance is not None}

    def _read_favourites(self, seqs: str) -> dict[int, Mapping[str, str]]:
        return {seq: read_notes(notes).favourites for seq, notes in self._connection.execute(_COMPARED, (seqs,))}

    def forecasts(self, seqs: Sequence[int]) -> list[Forecast | None]:
        """``forecast`` of each of these decisions, for which no others are read."""
        return self._forecasts.of(seqs)

    def forecast(self, decision_seq: int) -> Forecast | None:
        """What was given for the favourite's reward; None where an agent was chosen that was given less chance."""
        return self._forecasts.get(decision_seq)

    def favourites(self, decision_seq: int) -> Mapping[str, str]:
        """Whom each of the strategies prefers that were compared, by its name."""
        return self._favourites.get(decision_seq) or _NOTHING

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


def _chance_of_the_like(propensity: float, probabilities: bytes | None, favourite: int) -> float | None:
    """With what probability the favourite or its like was chosen; None where somebody else was.

    Args:
        propensity: Of who was chosen; above one half that is the favourite, and nobody is like it.
        probabilities: As they are logged, where it is less.
        favourite: Its place among them.
    """
    if probabilities is None:
        return propensity
    drawn = array("f", probabilities)
    most = drawn[favourite]
    return sum([chance for chance in drawn if chance >= most]) if array("f", [propensity])[0] >= most else None
