"""Keeping the log short: old decisions go to an archive file, what was learnt from them stays in a snapshot."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_sdk.store.writer import LogWriter

_OLD = """SELECT seq FROM decisions d WHERE at < ?1 AND seq <= ?2
    AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq > ?2)"""
_OLD_OUTCOMES = f"SELECT o.seq FROM outcomes o JOIN decisions d USING (decision_id) WHERE d.seq IN ({_OLD})"
_TABLES = ("decisions", "outcomes", "payloads", "vectors")


def archive_before(writer: LogWriter, folder: Path, before: float, cursor: int) -> tuple[int, Path | None]:
    """Move decisions older than ``before``, with their outcomes, into a compressed JSON-lines file.

    A correction that arrives for an archived decision later finds no decision and ends as a dead letter.

    Args:
        writer: The log.
        folder: The store's folder for artefacts.
        before: Seconds since the epoch.
        cursor: Position up to which every fold's state is in a snapshot; nothing behind it is moved.

    Returns:
        How many decisions were moved, and the file; nothing to move, no file.
    """

    def work(connection: sqlite3.Connection, seq: int) -> tuple[int, Path | None]:
        scope = (before, cursor)
        count = connection.execute(f"SELECT count(*) FROM ({_OLD})", scope).fetchone()[0]
        if not count:
            return 0, None
        target = folder / "archive" / f"{seq:020d}.jsonl.gz"
        _write(connection, target, scope)
        for table in reversed(_TABLES):
            connection.execute(f"DELETE FROM {table} WHERE {_scope_of(table)}", scope)
        connection.execute("INSERT OR REPLACE INTO positions VALUES ('archived', ?)", (seq - 1,))
        return count, target

    return writer.transact(work)


def _scope_of(table: str) -> str:
    if table == "decisions":
        return f"seq IN ({_OLD})"
    if table == "outcomes":
        return f"seq IN ({_OLD_OUTCOMES})"
    return f"seq IN ({_OLD} UNION ALL {_OLD_OUTCOMES})"


def _write(connection: sqlite3.Connection, target: Path, scope: tuple[float, int]) -> None:
    """Write all rows that go, table by table; on disk before the rows are deleted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    with gzip.open(draft, "wt", encoding="utf-8") as file:
        for table in _TABLES:
            cursor = connection.execute(f"SELECT * FROM {table} WHERE {_scope_of(table)} ORDER BY seq", scope)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                file.write(json.dumps({"table": table, **dict(zip(names, map(_plain, row), strict=True))}) + "\n")
    descriptor = os.open(draft, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)
    draft.replace(target)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
