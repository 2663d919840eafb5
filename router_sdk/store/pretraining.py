"""Of which decisions pre-trainings were made: they stand in no log, and are remembered by versions all the same."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from router_sdk.forking import no_fork
from router_sdk.store.connection import open_reader

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from router_sdk.store.group_commit import LogWriter

_PIECE = 2_000


def copy_pretraining(writer: LogWriter, source: Path) -> None:
    """Log the decisions of a store of made-up examples: their ids, sessions, tenants and texts' hashes.

    Args:
        writer: The log.
        source: The store that they were written to, in the same privacy mode.
    """
    with no_fork(), closing(open_reader(source)) as connection:
        query = """SELECT d.decision_id, p.session_id, p.context_hash, d.tenant
                   FROM decisions d LEFT JOIN payloads p ON p.seq = d.seq ORDER BY d.seq"""
        rows = connection.execute(query).fetchall()
    for start in range(0, len(rows), _PIECE):
        _write(writer, rows[start : start + _PIECE])


def _write(writer: LogWriter, rows: Sequence[tuple[Any, ...]]) -> None:
    def work(connection: sqlite3.Connection, seq: int) -> None:
        connection.executemany("INSERT OR REPLACE INTO pretraining VALUES (?, ?, ?, ?)", rows)

    writer.transact(work)
