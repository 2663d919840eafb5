"""Of the examples that a pre-training was made of, the log keeps ids, sessions and hashes alone.

They stand in no log, and versions remember them all the same, so that they can be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from router_sdk.lifetime import no_fork
from router_sdk.store.connection import open_reader

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter

_PIECE = 2_000
_PRETRAINING = "(decision_id, session_id, context_hash, tenant)"
_KNOWN = "ON CONFLICT (decision_id) DO NOTHING"
_ANEW = """ON CONFLICT (decision_id) DO UPDATE SET
    session_id = excluded.session_id, context_hash = excluded.context_hash, tenant = excluded.tenant"""


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
    query = f"INSERT INTO pretraining {_PRETRAINING} VALUES (?, ?, ?, ?) {_ANEW}"
    for start in range(0, len(rows), _PIECE):
        _each(writer, query, rows[start : start + _PIECE])


def note_taught(writer: LogWriter, taught: Sequence[tuple[str, str | None, str | None, str | None]]) -> None:
    """Log what versions learn of a file that is read beside the log, but not what was forgotten or is noted already.

    Args:
        writer: The log.
        taught: Id, session, text's hash and tenant of each example.
    """
    known = "SELECT 1 FROM forgotten_decisions WHERE decision_id = ?1"
    query = f"INSERT INTO pretraining {_PRETRAINING} SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS ({known}) {_KNOWN}"
    for start in range(0, len(taught), _PIECE):
        _each(writer, query, taught[start : start + _PIECE])


def _each(writer: LogWriter, query: str, rows: Sequence[tuple[Any, ...]]) -> None:
    def work(connection: Connection, seq: int) -> None:
        connection.executemany(query, rows)

    writer.transact(work)
