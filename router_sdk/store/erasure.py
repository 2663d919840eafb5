"""``forget``: erase what a session said, keep the numbers, and prove it in the raw bytes.

The tables are erased in one transaction, which also logs what is left to do elsewhere: side files, snapshots, versions,
archives, exports. Whoever has the store open goes on there until all of it is done.
"""

from __future__ import annotations

import json
import time
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from router_sdk.errors import StoreUnavailableError
from router_sdk.store.coordination import add_intent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router_sdk.engine import Connection
    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.privacy import Privacy

_CHECKPOINT_S = 10.0
_BLANK = """UPDATE payloads SET session_id = NULL, text = NULL, features = NULL, context = NULL, response = NULL,
            feedback_text = NULL, error = NULL, context_hash = NULL, dedupe_hash = NULL"""
"""Rows stay where they are: SQLite moves the neighbours of deleted ones, and leaves copies of them behind."""


class Erasure(NamedTuple):
    """What a ``forget`` has begun.

    Attributes:
        seq: Position of its event in the log; what stands before it may hold what was erased.
        decisions: Whose payload is gone.
        sessions: Under what the session was kept: its id, or a keyed hash of it.
        tenant: Whose session; None is that of tasks without a tenant. The empty name is everybody's: an earlier
            release did not tell tenants apart.
    """

    seq: int
    decisions: tuple[str, ...]
    sessions: tuple[str, ...]
    tenant: str | None = None

    @classmethod
    def of(cls, body: dict[str, Any]) -> Erasure:
        """Read an intent's body."""
        return cls(int(body["seq"]), tuple(body["decisions"]), tuple(body["sessions"]), body.get("tenant", ""))

    def concerns(self, tenant: str | None) -> bool:
        """Whether a decision of that tenant is meant, if its session is."""
        return self.tenant in ("", tenant)


def erase_session(
    writer: LogWriter, session_id: str, privacy: Privacy, tenant: str | None = None
) -> tuple[int, Erasure]:
    """Erase texts, features, vectors, responses and the session's id; log a ``forget`` event for its decisions.

    Probabilities, rewards and labels stay. Deleted cells are overwritten (``secure_delete``).

    Args:
        writer: The log.
        session_id: Which session.
        privacy: Under what the session's id is kept.
        tenant: Whose; None is that of tasks without a tenant.

    Returns:
        The intent to go on with in other places, and what it is about.
    """
    writer.flush()
    # Earlier releases kept ids, and dead letters quote lines, in the Unicode form in which they came.
    spelled = dict.fromkeys((session_id, unicodedata.normalize("NFD", session_id)))
    sessions = tuple(dict.fromkeys((*spelled, privacy.session(session_id) or session_id)))

    def work(connection: Connection, seq: int) -> tuple[int, Erasure]:
        marks = ", ".join("?" * len(sessions))
        decided = connection.execute(
            f"""SELECT d.seq, d.decision_id FROM payloads p JOIN decisions d ON d.seq = p.seq
                WHERE p.session_id IN ({marks}) AND d.tenant IS ? ORDER BY d.seq""",
            (*sessions, tenant),
        ).fetchall()
        ids = [decision_id for _, decision_id in decided]
        for decision_seq, decision_id in decided:
            connection.execute(f"{_BLANK} WHERE seq = ?", (decision_seq,))
            connection.execute("DELETE FROM vectors WHERE seq = ?", (decision_seq,))
            connection.execute(
                f"{_BLANK} WHERE seq IN (SELECT seq FROM outcomes WHERE decision_id = ?)", (decision_id,)
            )
            connection.execute("UPDATE dead_letters SET body = NULL WHERE decision_id = ?", (decision_id,))
        pretrained = f"FROM pretraining WHERE session_id IN ({marks}) AND (tenant IS ? OR tenant = '')"
        taught = connection.execute(f"SELECT decision_id {pretrained}", (*sessions, tenant)).fetchall()
        connection.execute(f"DELETE {pretrained}", (*sessions, tenant))
        ids += [decision_id for (decision_id,) in taught]
        for each in spelled:
            _erase_letters(connection, each, tenant)
        connection.insert_rows("forgotten_decisions", "decision_id", [(each,) for each in ids], known=True)
        if ids:
            connection.overwrite()
            connection.execute("INSERT INTO forgotten VALUES (?, ?, ?)", (seq, " ".join(ids), time.time()))
        erasure = Erasure(seq, tuple(ids), sessions, tenant)
        return add_intent(connection, "forget", erasure._asdict()), erasure

    return writer.transact(work)


def _erase_letters(connection: Connection, session_id: str, tenant: str | None) -> None:
    """Letters that quote the session's id, as it is or as JSON spells it, unless they say that they are another's."""
    said = json.dumps(session_id)[1:-1]
    quotes = " OR ".join(f"instr({column}, ?{place}) > 0" for column in ("body", "reason") for place in (1, 2))
    query = f"SELECT id, body FROM dead_letters WHERE {quotes}"
    found = connection.execute(query, (session_id, said)).fetchall()
    gone = [(number,) for number, body in found if not _says_other(body, tenant)]
    connection.executemany("UPDATE dead_letters SET body = NULL, reason = 'erased' WHERE id = ?", gone)


def _says_other(body: str | None, tenant: str | None) -> bool:
    """Whether a letter's body is a task's line of another tenant."""
    try:
        row = from_json(body or "")
    except ValueError:
        return False
    return isinstance(row, dict) and "tenant" in row and row["tenant"] != tenant


def forgotten_among(connection: Connection, decision_ids: Iterable[str]) -> set[str]:
    """Those of some decisions, whether they stand in the log or not, that were forgotten."""
    query = "SELECT decision_id FROM forgotten_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"
    return {found for (found,) in connection.execute(query, (json.dumps(list(decision_ids)),))}


def add_to_erasure(writer: LogWriter, intent: int, erasure: Erasure, decision_ids: Iterable[str]) -> Erasure:
    """Decisions of the session that were found elsewhere, such as in an archive: they are forgotten, too."""
    more = [decision_id for decision_id in decision_ids if decision_id not in erasure.decisions]
    if not more:
        return erasure

    def work(connection: Connection, seq: int) -> Erasure:
        grown = erasure._replace(seq=seq, decisions=(*erasure.decisions, *more))
        connection.insert_rows("forgotten_decisions", "decision_id", [(each,) for each in more], known=True)
        connection.execute("INSERT INTO forgotten VALUES (?, ?, ?)", (seq, " ".join(more), time.time()))
        connection.execute("UPDATE intents SET body = ? WHERE id = ?", (json.dumps(grown._asdict()), intent))
        return grown

    return writer.transact(work)


def empty_write_ahead_log(writer: LogWriter, patience_s: float = _CHECKPOINT_S) -> None:
    """Return once no erased page is left in the write-ahead log; nobody's ``record`` waits for that.

    Raises:
        StoreUnavailableError: if a reader keeps old pages for too long.
    """
    deadline = time.monotonic() + patience_s
    while not writer.scrub():
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                "the session's payload is erased, but a reader keeps old pages in the write-ahead log; "
                "it is emptied once that reader is gone"
            )
        time.sleep(0.02)
