"""What processes on one log tell each other: what is begun and not done, and how far each has read.

What takes more than one transaction is logged before it begins, as an intent, and finished by whoever comes next if cut
off. What somebody may still have to read is not archived.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router_sdk.engine import Connection


MOST = 2**63 - 1
"""How many rows there can be: a limit that is none."""

Kind = Literal["forget", "archive", "promote", "import"]


class Intent(NamedTuple):
    """One of them.

    Attributes:
        number: Its id.
        kind: What is to be done.
        at: Since when, in seconds since the epoch.
        body: What it takes to go on, as JSON values.
    """

    number: int
    kind: Kind
    at: float
    body: dict[str, Any]


def add_intent(connection: Connection, kind: Kind, body: Mapping[str, Any]) -> int:
    """Log what is about to be done, in the transaction of its first step, and return its id."""
    row = (time.time(), kind, json.dumps(dict(body)))
    query = "INSERT INTO intents (at, kind, body) VALUES (?, ?, ?) RETURNING id"
    return int(connection.execute(query, row).fetchone()[0])


def read_intent(connection: Connection, number: int) -> dict[str, Any] | None:
    """How far it is, in the transaction of the next step; None where it is done."""
    row = connection.execute("SELECT body FROM intents WHERE id = ?", (number,)).fetchone()
    return None if row is None else json.loads(row[0])


def continue_intent(connection: Connection, number: int, body: Mapping[str, Any]) -> None:
    """Log how far it is, in the transaction of the step that came so far."""
    connection.execute("UPDATE intents SET body = ? WHERE id = ?", (json.dumps(dict(body)), number))


def finish_intent(connection: Connection, number: int) -> None:
    """It is done, in the transaction of its last step."""
    connection.execute("DELETE FROM intents WHERE id = ?", (number,))


def pending_intents(connection: Connection) -> list[Intent]:
    """What is not done, oldest first."""
    rows = connection.execute("SELECT id, kind, at, body FROM intents ORDER BY id").fetchall()
    return [Intent(number, kind, at, json.loads(body)) for number, kind, at, body in rows]


# -- consumers

HEARD_OF_S = 3_600.0
"""A consumer that was not heard of for so long is gone."""


def note_consumers(connection: Connection, process: str, cursors: Mapping[str, int]) -> None:
    """Log, in a transaction, how far the folds of this process are saved, and that it is there.

    Args:
        connection: To the log.
        process: Its own name, new for each process.
        cursors: Position up to which each fold's state is in a snapshot.
    """
    now = time.time()
    connection.execute("DELETE FROM consumers WHERE process = ? OR at < ?", (process, now - HEARD_OF_S))
    rows = [(name, process, cursor, now) for name, cursor in cursors.items()]
    connection.executemany("INSERT INTO consumers (name, process, cursor, at) VALUES (?, ?, ?, ?)", rows)


def low_water(connection: Connection, process: str) -> int | None:
    """Position that every other consumer has passed; None where there is no other."""
    query = "SELECT min(cursor) FROM consumers WHERE process != ? AND at > ?"
    found: int | None = connection.execute(query, (process, time.time() - HEARD_OF_S)).fetchone()[0]
    return found


# -- positions


Note = tuple[str, str]
"""A row of ``meta``: its name, and what it says."""


def put_notes(connection: Connection, notes: Iterable[Note]) -> None:
    """Note within a transaction, in the place of what was noted under these names before."""
    query = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    connection.executemany(query, list(notes))


def store_id(connection: Connection) -> str:
    """By which a log is told from every other one; a copy has it too."""
    return str(connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()[0])


def note_position(connection: Connection, name: str, seq: int) -> None:
    """Log, in a transaction, how far something has come."""
    query = "INSERT INTO positions (name, seq) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq"
    connection.execute(query, (name, seq))
