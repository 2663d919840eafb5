"""Exported lines into the log: what one log held of each decision, in the order of that log, each part of it once.

An export has a line for each decision, while learning follows the order in which everything came. So lines are first
set aside, in a database of their own that goes with the import, and then written in the order of their positions.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.lines import FRESH, dumped, read_fresh, read_line
from router_sdk.exchange.observing import GROUP
from router_sdk.records import Outcome
from router_sdk.store.copying import CopiedDecision, CopiedPart, Event, numbered, write_copies
from router_sdk.store.rows import DECISION_COLUMNS

if TYPE_CHECKING:
    from router_sdk.exchange.observations import ImportReport, Newcomers, Refusals
    from router_sdk.recording import Recorder
    from router_sdk.records import Decision
    from router_sdk.store import Store
    from router_sdk.store.retention import ArchivedIds

_ASIDE = (
    "CREATE TABLE lines (number INTEGER PRIMARY KEY, brought INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE events (position INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX events_in_order ON events (position)",
)
_IN_ORDER = "SELECT number, kind, body FROM events ORDER BY position, rowid"
_TEXTS = {"response", "feedback_text", "error", "reason"}
"""Are not set aside where they are not kept as they are."""
_TENANT = 3
"""Where an outcome's row, without its ``seq``, has its tenant."""
_PROBABILITIES = DECISION_COLUMNS.removeprefix("seq, ").split(", ").index("probabilities")


def is_exported(row: Mapping[str, Any]) -> bool:
    """Whether a router wrote this row."""
    return row.get("decision_id") is not None or FRESH in row


class _Event(NamedTuple):
    """One on its way into the log, the number of its line, and what it says where it is a part."""

    number: int
    event: Event
    said: Mapping[str, Any] | None


class CopiedLines:
    """Logs exported lines.

    Args:
        store: The log.
        recorder: Makes decisions and entries of lines.
        newcomers: Makes agents of new names.
        report: Where to count.
        refusals: Where what is refused goes.
        archived: Which decisions are in an archive.
        tell: Told which share is written.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        newcomers: Newcomers,
        report: ImportReport,
        refusals: Refusals,
        archived: ArchivedIds,
        tell: Callable[[float], None],
    ) -> None:
        self._store, self._recorder, self._newcomers = store, recorder, newcomers
        self._report, self._refusals, self._archived, self._tell = report, refusals, archived, tell
        self._aside: sqlite3.Connection | None = None

    def take(self, number: int, row: Mapping[str, Any]) -> None:
        """Check a line, and set it aside.

        Raises:
            RouterError: if it cannot be logged.
        """
        if FRESH in row:
            start = read_fresh(row)
            self._newcomers.welcome([start.agent.name])
            self._newcomers.check([start.agent.name])
            self._set_aside(number, [(start.position, number, "fresh", dumped(row))])
            return
        logged = read_line(row)
        decision, parts = logged.decision, logged.parts
        told = [decision.agent, *(name for one in parts for name in (one.outcome.agent, one.outcome.correct_agent))]
        named = [name for name in told if name is not None]
        self._newcomers.welcome([*decision.distribution.agents.names, *named])
        self._newcomers.check(named)
        if self._archived.among([decision.decision_id]) or ("parts" not in row and self._is_there(decision)):
            self._report.known += 1
            return
        copied = CopiedDecision.of(decision, self._store.privacy)
        events = [(logged.position, number, "decision", _dumped(copied))]
        rows, payloads = [], []
        for part in parts:
            entry = self._recorder.entry(decision, part.outcome, part.outcome_id, at=part.at)
            assert entry.outcome is not None
            rows.append((*entry.outcome[:_TENANT], part.tenant, *entry.outcome[_TENANT + 1 :]))
            payloads.append(entry.payload)
        times = [part.logged_at for part in parts]
        for part, copy in zip(parts, map(CopiedPart, rows, payloads, numbered(rows), times), strict=True):
            said = part.outcome.model_dump(exclude_none=True, exclude=_TEXTS if self._store.privacy.changes else None)
            events.append((part.position, number, "part", dumped([*copy, said])))
        self._set_aside(number, events)

    def _set_aside(self, number: int, events: Iterable[tuple[int, int, str, str]]) -> None:
        if self._aside is None:
            self._aside = sqlite3.connect("", isolation_level=None)  # a file without a name, in bounded memory
            self._aside.execute("BEGIN")
            for statement in _ASIDE:
                self._aside.execute(statement)
        try:
            self._aside.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", events)
        except UnicodeEncodeError:
            self._aside.execute("DELETE FROM events WHERE number = ?", (number,))
            raise InvalidInputError("a text holds half of a surrogate pair, and cannot be stored") from None
        self._aside.execute("INSERT INTO lines (number) VALUES (?)", (number,))

    def _is_there(self, decision: Decision) -> bool:
        return self._store.reader.decision(decision.decision_id) is not None

    def finish(self) -> None:
        """Write what was set aside."""
        if self._aside is None:
            return
        (count,) = self._aside.execute("SELECT count(*) FROM events").fetchone()
        cursor, done = self._aside.execute(_IN_ORDER), 0
        while rows := cursor.fetchmany(GROUP):
            self._write([_event(*row) for row in rows])
            done += len(rows)
            self._tell(done / count)
        (brought, lines) = self._aside.execute("SELECT ifnull(sum(brought), 0), count(*) FROM lines").fetchone()
        self._report.imported += brought
        self._report.known += lines - brought

    def close(self) -> None:
        """Give back what lines were set aside in."""
        if self._aside is not None:
            self._aside.close()

    def _write(self, events: list[_Event]) -> None:
        told = write_copies(self._store.writer, [one.event for one in events])
        brought, recorded = set(), []
        for one, verdict in zip(events, told, strict=True):
            if verdict is True:
                brought.add((one.number,))
                if isinstance(one.event, CopiedPart) and one.said is not None:
                    recorded.append((one.event.row[1], one.said))
            elif verdict is not False:
                self._refusals.add(one.number, None, verdict)
        assert self._aside is not None
        self._aside.executemany("UPDATE lines SET brought = 1 WHERE number = ?", brought)
        self._recorder.imported(len(recorded), ((id_, Outcome.model_construct(**said)) for id_, said in recorded))


def _dumped(copied: CopiedDecision) -> str:
    return json.dumps(copied, default=bytes.hex, ensure_ascii=False)


def _event(number: int, kind: str, body: str) -> _Event:
    if kind == "fresh":
        return _Event(number, read_fresh(json.loads(body)), None)
    if kind == "part":
        row, payload, nth, logged_at, said = json.loads(body)
        return _Event(number, CopiedPart(tuple(row), payload, nth, logged_at), said)
    row, payload, vectors, (set_id, names) = json.loads(body)
    row[_PROBABILITIES] = bytes.fromhex(row[_PROBABILITIES])
    found = tuple((encoder, dtype, bytes.fromhex(vector)) for encoder, dtype, vector in vectors)
    return _Event(number, CopiedDecision(tuple(row), payload, found, (set_id, tuple(names))), None)
