"""The log as joined examples, oldest first, sliced lazily; and those that people should be asked about."""

from __future__ import annotations

import json
import math
import operator
from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from router_sdk.records import Example
from router_sdk.records.arguments import each, whole
from router_sdk.store.copying import FreshStart, LoggedDecision, LoggedPart, read_decisions, read_fresh_starts
from router_sdk.store.identity import check_id
from router_sdk.store.scores import parts_of
from router_sdk.store.tail import EVERYTHING, LogTail

if TYPE_CHECKING:
    from router_sdk.engine import Connection
    from router_sdk.records import Decision
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store

_CHUNK = 1_000
_MOST = 2**63 - 1
"""What a database can count to."""
_ACTED_ON = "FROM decisions d WHERE d.source != 'shadow'"
_JOINED = "FROM decisions d WHERE EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id)"
_CHOSEN = f"""{_JOINED} AND d.seq IN (SELECT value FROM json_each(?))
AND NOT EXISTS (SELECT 1 FROM forgotten_decisions f WHERE f.decision_id = d.decision_id)"""


class History(Sequence[Example]):
    """Decisions with an outcome, each at its newest revision, in the order in which they were made.

    Nothing is read before it is asked for; ``history[-5:]`` reads five rows from the end.

    Args:
        store: The log.
        reward: Turns outcomes into rewards.
        chosen: Positions of the decisions that it consists of; None is all of them. Forgotten ones are left out.
        upto: Position up to which outcomes count: of each decision what was known then.
    """

    def __init__(
        self, store: Store, reward: RewardFunction, chosen: Collection[int] | None = None, upto: int = EVERYTHING
    ) -> None:
        self._store, self._reward, self.upto = store, reward, upto
        self._chosen = None if chosen is None else sorted(chosen)
        self._rows = _JOINED if chosen is None else _CHOSEN
        self._told: tuple[str, ...] = () if chosen is None else (json.dumps(self._chosen),)

    def only(self, chosen: Collection[int], upto: int = EVERYTHING) -> History:
        """These decisions alone, with what was known of them at a position.

        Raises:
            InvalidInputError: if a position is no whole number.
        """
        positions = [whole(one, "chosen") for one in each(chosen, "chosen")]
        return History(self._store, self._reward, positions, whole(upto, "upto"))

    def of(self, decision_id: str) -> Example | None:
        """What is known of a decision; None where nothing was said of it, or there is none.

        ``decision_id`` names it.

        Raises:
            InvalidIdError: if the id is malformed.
        """
        rows = self._query("SELECT seq FROM decisions WHERE decision_id = ?", check_id(decision_id))
        found = self._newest(rows[0]) if rows else []
        return found[0] if found else None

    def parts(self, decision_id: str) -> Sequence[LoggedPart]:
        """All that was said of a decision, in order, as it came: each with its ``outcome``, and whose word it was.

        ``decision_id`` names it.

        Raises:
            InvalidIdError: if the id is malformed.
        """
        decision_id = check_id(decision_id)
        return self._store.reader.query(lambda connection: parts_of(connection, decision_id))

    def _newest(self, seqs: Sequence[int]) -> list[Example]:
        def work(connection: Connection) -> list[Example]:
            return LogTail(connection, self._reward).newest(seqs, self.upto)

        return self._store.reader.query(work)

    def _query(self, query: str, *told: Any) -> list[tuple[Any, ...]]:
        return self._store.reader.query(lambda connection: connection.execute(query, told).fetchall())

    def _seqs(self, order: str, limit: int, offset: int) -> list[int]:
        query = f"SELECT d.seq {self._rows} ORDER BY d.seq {order} LIMIT ? OFFSET ?"
        return [seq for (seq,) in self._query(query, *self._told, min(limit, _MOST), min(offset, _MOST))]

    def __len__(self) -> int:
        ((count,),) = self._query(f"SELECT count(*) {self._rows}", *self._told)
        return int(count)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if not isinstance(index, slice):
            place = operator.index(index)
            seqs = self._seqs("ASC", 1, place) if place >= 0 else self._seqs("DESC", 1, -place - 1)
            if not seqs:
                raise IndexError(f"no example {place}")
            return self._newest(seqs)[0]
        first = 0 if index.start is None else operator.index(index.start)
        if first < 0 and index.stop is None and index.step in (None, 1):
            return self._newest(self._seqs("DESC", -first, 0))
        start, stop, step = index.indices(len(self))
        low, high = (start, stop) if step > 0 else (stop + 1, start + 1)
        found = self._newest(self._seqs("ASC", max(high - low, 0), low))
        return found[::step]

    def __iter__(self) -> Iterator[Example]:
        for seqs in self._chunks():
            yield from self._newest(seqs)

    def _chunks(self, decisions: str = _JOINED) -> Iterator[list[int]]:
        """Positions of decisions, oldest first, so many at a time."""
        if self._chosen is not None:
            for start in range(0, len(self._chosen), _CHUNK):
                part = json.dumps(self._chosen[start : start + _CHUNK])
                yield [seq for (seq,) in self._query(f"SELECT d.seq {_CHOSEN} ORDER BY d.seq", part)]
            return
        last = 0
        query = f"SELECT d.seq {decisions} AND d.seq > ? ORDER BY d.seq LIMIT {_CHUNK}"
        while rows := self._query(query, last):
            yield [seq for (seq,) in rows]
            last = rows[-1][0]

    def logged(self, *, unanswered: bool = False) -> Iterator[tuple[LoggedDecision, Example | None]]:
        """All that the log holds of each decision, with its example; decisions without an outcome where asked for."""
        for seqs in self._chunks(_ACTED_ON if unanswered else _JOINED):
            found = {example.decision_seq: example for example in self._newest(seqs)}
            logged = self._store.reader.query(lambda c, seqs=seqs: read_decisions(c, seqs))  # type: ignore[misc]
            for one in logged:
                parts = tuple(part for part in one.parts if part.position <= self.upto)
                yield one._replace(parts=parts), found.get(one.position)

    def fresh_starts(self) -> list[FreshStart]:
        """When which agent was added afresh; of no interest where decisions were chosen."""
        return [] if self._chosen is not None else self._store.reader.query(read_fresh_starts)

    def with_responses(self) -> Iterator[tuple[Example, str | None]]:
        """Every example with what its agent answered, where that was recorded and kept."""
        query = """SELECT p.response FROM outcomes o JOIN payloads p ON p.seq = o.seq
                   WHERE o.decision_id = ? AND o.seq <= ? AND p.response IS NOT NULL ORDER BY o.seq DESC LIMIT 1"""
        for example in self:
            rows = self._query(query, example.decision_id, self.upto)
            yield example, rows[0][0] if rows else None


# -- whom to ask about

RECENT = 1_000
"""Among how many of the newest decisions without an outcome to look."""

_WAITING = """
SELECT d.decision_id, d.probabilities, coalesce(p.context_hash, p.text)
FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq
WHERE d.source = 'routed' AND length(d.probabilities) > 4
  AND (d.tenant = ?1 OR ?1 IS NULL)
  AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id)
ORDER BY d.seq DESC LIMIT ?2"""


def most_telling(store: Store, count: int, tenant: str | None = None) -> list[Decision]:
    """Recent decisions without an outcome, the most uncertain first, each text once in whatever spelling.

    Uncertainty is the entropy of the logged probabilities: where a strategy's probabilities are its belief in which
    agent is best, an outcome tells the most where that belief is spread (Lewis & Gale, "A Sequential Algorithm for
    Training Text Classifiers", SIGIR 1994, for uncertainty sampling).
    """

    def work(connection: Connection) -> list[str]:
        ranked: list[tuple[float, str]] = []
        seen: set[str] = set()
        for decision_id, blob, about in connection.execute(_WAITING, (tenant, RECENT)):
            if about is not None:
                if about in seen:
                    continue
                seen.add(about)
            ranked.append((_entropy(array("f", blob)), decision_id))
        ranked.sort(key=lambda found: -found[0])
        return [decision_id for _, decision_id in ranked[:count]]

    return [store.reader.known_decision(decision_id) for decision_id in store.reader.query(work)]


def _entropy(probabilities: array[float]) -> float:
    """In nats, over the logarithm of how many there are: 1 for a toss-up among all."""
    return -sum(share * math.log(share) for share in probabilities if share > 0) / math.log(len(probabilities))
