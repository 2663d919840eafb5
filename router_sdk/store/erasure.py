"""``forget``: erase what a session said, keep the numbers, and prove it in the raw bytes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from router_sdk.errors import StoreUnavailableError

if TYPE_CHECKING:
    import sqlite3

    from router_sdk.store.writer import LogWriter

_CHECKPOINT_S = 10.0
_BLANK = """UPDATE payloads SET session_id = NULL, text = NULL, features = NULL, context = NULL, response = NULL,
            feedback_text = NULL, error = NULL"""
"""Rows stay where they are: SQLite moves the neighbours of deleted ones, and leaves copies of them behind."""


def erase_session(writer: LogWriter, session_id: str) -> list[str]:
    """Erase texts, features, vectors, responses and the session's id; log a ``forget`` event for its decisions.

    Probabilities, rewards and labels stay. Deleted cells are overwritten (``secure_delete``), and the write-ahead
    log is emptied before this returns.

    Returns:
        The decisions whose payload was erased.

    Raises:
        StoreUnavailableError: if a reader in another process keeps the write-ahead log from being emptied.
    """
    writer.flush()

    def work(connection: sqlite3.Connection, seq: int) -> list[str]:
        decided = connection.execute(
            """SELECT d.seq, d.decision_id FROM payloads p JOIN decisions d ON d.seq = p.seq
               WHERE p.session_id = ? ORDER BY d.seq""",
            (session_id,),
        ).fetchall()
        for decision_seq, decision_id in decided:
            connection.execute(f"{_BLANK} WHERE seq = ?", (decision_seq,))
            connection.execute("DELETE FROM vectors WHERE seq = ?", (decision_seq,))
            connection.execute(
                f"{_BLANK} WHERE seq IN (SELECT seq FROM outcomes WHERE decision_id = ?)", (decision_id,)
            )
            connection.execute("UPDATE dead_letters SET body = NULL WHERE decision_id = ?", (decision_id,))
        said = json.dumps(session_id)[1:-1]
        connection.execute(
            "UPDATE dead_letters SET body = NULL, reason = 'erased' WHERE instr(body, ?) OR instr(body, ?)",
            (session_id, said),
        )
        if decided:
            connection.execute("REINDEX payloads_by_session")
            ids = [decision_id for _, decision_id in decided]
            connection.execute("INSERT INTO forgotten VALUES (?, ?, ?)", (seq, " ".join(ids), time.time()))
            return ids
        return []

    erased = writer.transact(work)
    writer.exclusive(_empty_wal)
    return erased


def _empty_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _CHECKPOINT_S
    while True:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                "the session's payload is erased, but a reader keeps old pages in the write-ahead log; "
                "close other readers and call forget again"
            )
        time.sleep(0.01)
