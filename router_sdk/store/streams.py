"""What streams have come to: how far each has been read or written, how it does, and what was refused of it.

How far one is read is a row of ``meta``, written in the transaction of the outcomes that came with it; how far the log
was sent is another one, written once the broker has it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.store.coordination import put_notes
from router_sdk.store.copying import LoggedDecision, read_decisions
from router_sdk.store.transaction import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_sdk.engine import Connection
    from router_sdk.store.coordination import Note
    from router_sdk.store.events import DeadLetter
    from router_sdk.store.group_commit import LogWriter

KIND = "stream"
"""Of the dead letters that were messages."""

HEARD_OF_S = 86_400.0
"""A process that said nothing of its stream for so long is told of no more."""

_KNOWN_LETTERS = 10_000
"""Of the newest dead letters a message that is delivered again is known."""

SENT = "log"
"""The partition of a stream that the log is sent to: its position is the log's own."""


def _prefix(what: str, stream: str = "") -> str:
    return " ".join(("stream", what, *([stream] if stream else []), ""))


def positions_note(stream: str, positions: Mapping[str, int]) -> list[Note]:
    """How far a stream is read, by partition, as rows of ``meta``."""
    return [(_prefix("position", stream) + partition, str(position)) for partition, position in positions.items()]


def read_positions(connection: Connection, stream: str) -> dict[str, int]:
    """How far a stream is read, by partition."""
    return {name: int(value) for name, value in _noted(connection, _prefix("position", stream))}


def status_note(stream: str, process: str, told: Mapping[str, Any]) -> list[Note]:
    """How one process does on a stream, as JSON values, as a row of ``meta``."""
    return [(_prefix("status", stream) + process, json.dumps({**told, "at": time.time()}))]


def stream_statuses(connection: Connection) -> list[dict[str, Any]]:
    """How each process did on each stream lately, with the time ``at`` which it said so, in seconds since the epoch."""
    found = []
    for name, value in _noted(connection, _prefix("status")):
        stream, _, process = name.rpartition(" ")
        told = json.loads(value)
        if told["at"] > time.time() - HEARD_OF_S:
            found.append({"stream": stream, "process": process, **told})
    return found


def _noted(connection: Connection, prefix: str) -> list[tuple[str, str]]:
    """What is noted under names that begin so, by the rest of the name; a prefix ends with a blank."""
    query = "SELECT name, value FROM meta WHERE name >= ? AND name < ? ORDER BY name"
    rows = connection.execute(query, (prefix, prefix[:-1] + chr(ord(" ") + 1))).fetchall()
    return [(name[len(prefix) :], value) for name, value in rows]


def write_notes(writer: LogWriter, notes: Sequence[Note]) -> None:
    """Note where nothing else is to be written."""

    def work(connection: Connection, seq: int) -> None:
        put_notes(connection, notes)

    writer.transact(work)


def tidy_statuses(writer: LogWriter) -> None:
    """Drop what was said by processes that are told of no more."""

    def work(connection: Connection, seq: int) -> None:
        prefix = _prefix("status")
        old = time.time() - HEARD_OF_S
        gone = [(prefix + name,) for name, value in _noted(connection, prefix) if json.loads(value)["at"] <= old]
        connection.executemany("DELETE FROM meta WHERE name = ?", gone)

    writer.transact(work)


def held_outcomes(connection: Connection, outcome_ids: Iterable[str]) -> set[str]:
    """Which of some outcomes' ids the log holds."""
    query = "SELECT outcome_id FROM outcomes WHERE outcome_id IN (SELECT value FROM json_each(?))"
    return {outcome_id for (outcome_id,) in connection.execute(query, (json.dumps(list(outcome_ids)),))}


def write_refused_messages(writer: LogWriter, letters: Sequence[DeadLetter]) -> None:
    """Keep messages that nobody understood; one that is delivered again is kept once."""
    now = time.time()

    def work(connection: Connection, seq: int) -> None:
        connection.executemany(
            """INSERT INTO dead_letters (at, kind, decision_id, reason, body) SELECT ?1, ?2, ?3, ?4, ?5
               WHERE NOT EXISTS (
                   SELECT 1 FROM dead_letters WHERE kind = ?2 AND reason = ?4
                   AND id > (SELECT coalesce(max(id), 0) FROM dead_letters) - ?6)""",
            [(now, *letter, _KNOWN_LETTERS) for letter in letters],
        )

    writer.transact(work)


# -- out

_NEWS = """
SELECT seq FROM decisions WHERE seq > :after AND seq <= :upto AND source != 'shadow' UNION
SELECT d.seq FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id
WHERE o.seq > :after AND o.seq <= :upto AND d.seq <= :upto AND d.source != 'shadow'"""
_FORGOTTEN = "SELECT seq, decision_ids FROM forgotten WHERE seq > :after AND seq <= :upto ORDER BY seq"


class Due(NamedTuple):
    """What of a range of the log is to be sent.

    Attributes:
        upto: Where the range ends.
        decisions: All that is said of decisions with news in it: new ones, and those of new outcomes.
        forgotten: Positions at which sessions were forgotten, and ids of their decisions.
    """

    upto: int
    decisions: list[LoggedDecision]
    forgotten: list[tuple[int, list[str]]]


def read_due(connection: Connection, after: int, most: int) -> Due:
    """What the log holds after a position, over at most so many positions."""
    (head,) = connection.execute(HEAD).fetchone()
    span = {"after": after, "upto": max(after, min(head, after + most))}
    seqs = sorted(seq for (seq,) in connection.execute(_NEWS, span))
    forgotten = [(seq, ids.split()) for seq, ids in connection.execute(_FORGOTTEN, span)]
    return Due(span["upto"], read_decisions(connection, seqs), forgotten)
