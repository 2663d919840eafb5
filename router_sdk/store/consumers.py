"""Who reads the log, and how far each has come: what somebody may still have to read is not archived."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from router_sdk.store.group_commit import LogWriter

HEARD_OF_S = 3_600.0
"""A consumer that was not heard of for so long is gone."""


def note_consumers(writer: LogWriter, process: str, cursors: Mapping[str, int]) -> None:
    """Log how far the folds of this process are saved, and that it is there.

    Args:
        writer: The log.
        process: Its own name, new for each process.
        cursors: Position up to which each fold's state is in a snapshot.
    """
    now = time.time()

    def work(connection: sqlite3.Connection, seq: int) -> None:
        connection.execute("DELETE FROM consumers WHERE process = ? OR at < ?", (process, now - HEARD_OF_S))
        rows = [(name, process, cursor, now) for name, cursor in cursors.items()]
        connection.executemany("INSERT INTO consumers (name, process, cursor, at) VALUES (?, ?, ?, ?)", rows)

    writer.transact(work)


def low_water(connection: sqlite3.Connection, process: str) -> int | None:
    """Position that every other consumer has passed; None where there is no other."""
    query = "SELECT min(cursor) FROM consumers WHERE process != ? AND at > ?"
    found: int | None = connection.execute(query, (process, time.time() - HEARD_OF_S)).fetchone()[0]
    return found
