"""Keeping the log short: old decisions go to an archive file, what was learnt from them stays in a snapshot.

An archive is written in small pieces: a piece is on disk, as one member of a compressed file, before its rows are
deleted in a transaction that also notes how long the file is. Whoever is cut off leaves at most one member that counts
twice, which who goes on cuts away. Rows in stretches that go whole (``store.stretches``) stay until all is written.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import CorruptArtifactError, StoreBusyError
from router_sdk.lifetime import no_fork
from router_sdk.private_files import DRAFT, private_folder
from router_sdk.store.artifacts import archives, entry, sync
from router_sdk.store.coordination import add_intent, continue_intent, finish_intent, read_intent
from router_sdk.store.identity import new_id
from router_sdk.store.stretches import MOST_KEPT, StillReadError, drop_whole, edge, look_for_kept, whole_upto
from router_sdk.store.transaction import note_log_time

if TYPE_CHECKING:
    from router_sdk.engine import Connection, Engine
    from router_sdk.store.coordination import Intent
    from router_sdk.store.erasure import Erasure
    from router_sdk.store.group_commit import LogWriter

_log = logging.getLogger(__name__)

PIECE = 256
"""Decisions that go in one transaction."""
_TABLES = ("decisions", "outcomes", "payloads", "vectors")
_OUTCOMES = "SELECT o.seq FROM outcomes o JOIN decisions d USING (decision_id) WHERE d.seq IN ({seqs})"
_REACHED = """INSERT INTO positions (name, seq) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > positions.seq"""
_OLD = """SELECT d.seq FROM decisions d WHERE d.seq > ?1 AND d.seq <= ?2 AND d.at < ?3 AND (d.seq <= ?4 OR d.at < ?5)
    AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.seq > ?2)
    ORDER BY d.seq LIMIT ?6"""


def begin_archive(writer: LogWriter, before: float, cursor: int, rest_before: float | None = None) -> int:
    """Log that decisions made before a time are to go, up to a position, and return the intent.

    Args:
        writer: The log.
        before: Seconds since the epoch.
        cursor: Position up to which every consumer's state is in a snapshot; nothing behind it is moved.
        rest_before: Of what goes in no whole stretch, decisions that were made before this time go; else all.
    """
    name = f"{new_id()}.jsonl.gz"  # the position would not do: it is the same until something is logged

    def work(connection: Connection, seq: int) -> int:
        rest = before if rest_before is None else min(before, rest_before)
        body: dict[str, Any] = {"before": before, "rest_before": rest, "whole": whole_upto(connection, before, cursor)}
        body |= {"upto": cursor, "after": 0, "file": name, "bytes": 0, "count": 0}
        return add_intent(connection, "archive", body)

    return writer.transact(work)


def go_on_archiving(
    writer: LogWriter, engine: Engine, intent: Intent, rest: Callable[[], bool] = lambda: True
) -> tuple[int, Path | None]:
    """Move what is to be moved, a piece at a time; others commit in between. Then drop what goes whole.

    A correction that arrives for an archived decision later finds no decision and ends as a dead letter.

    Args:
        writer: The log.
        engine: Where the log is, and its folder.
        intent: What ``begin_archive`` logged.
        rest: Called between two pieces; False leaves the rest to whoever comes next.

    Returns:
        How many decisions were moved, and the file; nothing to move, no file.

    Raises:
        CorruptArtifactError: if the file is not where, or not as long as, it was left; the rest stays in the log.
        StillReadError: if all is in the file, and a reader keeps what goes whole from being dropped.
    """
    archive = private_folder(engine.folder / "archive")
    moved: dict[str, Any] = {"count": 0, "whole": 0, "file": intent.body["file"]}
    written = False

    def target() -> Path:
        return entry(archive, moved["file"])

    target()

    def piece(connection: Connection, seq: int) -> bool:
        """Move one; False where there is none left, or somebody else has finished."""
        nonlocal written
        told = read_intent(connection, intent.number)
        if told is None:
            return False
        moved.update(told)
        before, whole = told["before"], moved["whole"]
        scope = (told["after"], told["upto"], before, whole, told.get("rest_before", before), PIECE)
        seqs = [found for (found,) in connection.execute(_OLD, scope)]
        if not seqs:
            if whole:
                written = True
            else:
                finish_intent(connection, intent.number)
            return False
        size = _append(connection, target(), int(told["bytes"]), seqs)
        if going := edge(connection, seqs, whole):
            note_log_time(connection)
            query = f"SELECT coalesce(max(seq), 0) FROM outcomes WHERE {_scope_of('outcomes')}"
            (last,) = connection.execute(query, (json.dumps(going),)).fetchone()
            for table in reversed(_TABLES):
                connection.execute(f"DELETE FROM {table} WHERE {_scope_of(table)}", (json.dumps(going),))
            _note_reached(connection, seq - 1, max(last, going[-1]))
            connection.give_back()
        moved.update(after=seqs[-1], bytes=size, count=told["count"] + len(seqs))
        continue_intent(connection, intent.number, moved)
        return True

    def drop(connection: Connection, seq: int) -> None:
        if read_intent(connection, intent.number) is None:
            return
        note_log_time(connection)
        drop_whole(connection, moved, kept)
        _note_reached(connection, seq - 1, moved["whole"], dropped=moved["whole"])
        finish_intent(connection, intent.number)

    def by_rows(connection: Connection, seq: int) -> None:
        """Too much stays: begin again, in another file, since who erases may be at work on this one."""
        moved.update(whole=0, after=0, file=f"{new_id()}.jsonl.gz", bytes=0, count=0)
        continue_intent(connection, intent.number, moved)

    while True:
        while writer.transact(piece) and rest():
            pass
        if not written:
            break
        with no_fork(), closing(engine.reader()) as connection:
            kept = look_for_kept(connection, moved)
        if len(kept.decisions) + len(kept.outcomes) <= MOST_KEPT:
            try:
                writer.transact(drop)
            except StoreBusyError as error:
                raise StillReadError((moved["count"], target())) from error
            break
        writer.transact(by_rows)
        written = False
    return (moved["count"], target()) if moved["count"] else (0, None)


def _note_reached(connection: Connection, archived: int, moved: int, **more: int) -> None:
    """Note where the log ended when something was archived, and the newest row of it."""
    for name, position in {"archived": archived, "moved": moved, **more}.items():
        connection.execute(_REACHED, (name, position))


def archived_upto(connection: Connection) -> int:
    """Position of the newest row that is in an archive: whoever reads the log from there on misses nothing.

    Earlier releases noted where the log ended when they archived.
    """
    query = "SELECT seq FROM positions WHERE name IN ('moved', 'archived') ORDER BY name = 'archived' LIMIT 1"
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _scope_of(table: str) -> str:
    seqs = "SELECT value FROM json_each(?1)"
    if table == "decisions":
        return f"seq IN ({seqs})"
    if table == "outcomes":
        return f"seq IN ({_OUTCOMES.format(seqs=seqs)})"
    return f"seq IN ({seqs} UNION ALL {_OUTCOMES.format(seqs=seqs)})"


def _append(connection: Connection, target: Path, size: int, seqs: list[int]) -> int:
    """Add the rows of these decisions as one member, on disk before this returns; the file's new length.

    What lies beyond the length that the log knows was written by somebody who was cut off, and is still in the log.

    Raises:
        CorruptArtifactError: if the file is shorter than the log knows: it was begun elsewhere, or is lost.
    """
    new = not target.exists()
    there = 0 if new else target.stat().st_size
    if there < size:
        raise CorruptArtifactError(f"{target.name}: {size} bytes of it were written, and here are {there}")
    with os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.truncate(size)
        file.seek(size)
        with gzip.open(file, "wt", encoding="utf-8") as member:
            for table in _TABLES:
                query = f"SELECT * FROM {table} WHERE {_scope_of(table)} ORDER BY seq"
                cursor = connection.execute(query, (json.dumps(seqs),))
                names = [column[0] for column in cursor.description]
                for row in cursor:
                    line = {"table": table, **dict(zip(names, map(_plain, row), strict=True))}
                    member.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    if new:
        sync(target.parent)
    return size


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


# -- erasure in archives


class ArchivedIds:
    """Which decisions are in an archive: what they taught stays, so that they are not to be learnt from again.

    Args:
        folder: The store's folder for artefacts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: sqlite3.Connection | None = None
        self._any = False

    def among(self, decision_ids: Collection[str]) -> set[str]:
        """Those of the decisions that are; the archives are read once."""
        if self._found is None:
            self._found = sqlite3.connect("")  # a file without a name, so that memory is bounded
            self._found.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
            for path in archives(self._folder):
                self._any = True
                rows = ((row["decision_id"],) for row in _lines(path) if row.get("table") == "decisions")
                try:
                    self._found.executemany("INSERT OR IGNORE INTO ids VALUES (?)", rows)
                except CorruptArtifactError as error:
                    _log.warning("decisions that are archived there may be learnt from again: %s", error)
        if not self._any:
            return set()
        query = "SELECT id FROM ids WHERE id IN (SELECT value FROM json_each(?))"
        return {found for (found,) in self._found.execute(query, (json.dumps(list(decision_ids)),))}

    def close(self) -> None:
        """Give the file back."""
        if self._found is not None:
            self._found.close()


def archived_decisions(path: Path, erasure: Erasure) -> list[str]:
    """Ids of an erased session's decisions in an archive."""
    wanted: set[int] = set()
    ids: dict[int, str] = {}
    for row in _lines(path):
        if row.get("table") == "payloads" and row.get("session_id") in erasure.sessions:
            wanted.add(row["seq"])
        elif row.get("table") == "decisions" and erasure.concerns(row.get("tenant")):
            ids[row["seq"]] = row["decision_id"]
    return [ids[seq] for seq in sorted(wanted) if seq in ids]


def erase_from_archive(path: Path, decision_ids: Collection[str]) -> bool:
    """Write an archive anew without the payload of these decisions; whether there was any."""
    gone = set(decision_ids)
    seqs = {row["seq"] for row in _lines(path) if row.get("decision_id") in gone}
    if not seqs:
        return False
    descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, gzip.open(file, "wt", encoding="utf-8") as member:
            for row in _lines(path):
                if row.get("seq") in seqs and row.get("table") in ("payloads", "vectors"):
                    continue
                member.write(json.dumps(row) + "\n")
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an archive.

    Raises:
        CorruptArtifactError: if it cannot be read.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if not (isinstance(row, dict) and "seq" in row):
                    raise ValueError("one of its lines is no row")
                yield row
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CorruptArtifactError(f"{path.name} cannot be read: {error}") from error


# -- how much there is


def before_of_size(connection: Connection, most: int) -> float | None:
    """Which decisions must go for the log to fit into so many bytes: those before this time; None where it fits."""
    size = connection.size()
    if size <= most:
        return None
    (count,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
    query = "SELECT at FROM decisions ORDER BY at LIMIT 1 OFFSET ?"
    row = connection.execute(query, (math.ceil(count * (1.0 - most / size)),)).fetchone()
    return time.time() if row is None else float(row[0])
