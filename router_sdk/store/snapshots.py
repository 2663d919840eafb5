"""Snapshots of folded state: a folder beside the database and a row that says where in the log it stands."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.errors import CorruptArtifactError
from router_sdk.store.artifacts import (
    check_artifact,
    entry,
    plain_name,
    read_state,
    remove,
    remove_strangers,
    set_aside,
    strangers,
    write_artifact,
)

if TYPE_CHECKING:
    import sqlite3

    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.reader import LogReader

_KEEP = 2
_log = logging.getLogger(__name__)


def fingerprint(*parts: str) -> str:
    """Condense everything that a state depends on besides the log."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


class Snapshot(NamedTuple):
    """One row: whose state, what else it depends on, up to where in the log, and in which folder."""

    strategy: str
    fingerprint: str
    cursor: int
    folder: str


class Snapshots:
    """Saves and finds snapshots; the newest two of each strategy are kept.

    Args:
        writer: Where the rows are written.
        reader: Where they are read.
        folder: The store's folder for artefacts.
        read_only: Whether nothing may be changed; then what is damaged stays where it is.
    """

    def __init__(self, writer: LogWriter, reader: LogReader, folder: Path, *, read_only: bool = False) -> None:
        self._writer, self._reader, self._read_only = writer, reader, read_only
        self._root = folder
        self._folder = folder / "snapshots"

    def save(self, strategy: str, mark: str, cursor: int, fill: Callable[[Path], None]) -> None:
        """Write a strategy's state as of ``cursor``.

        Args:
            strategy: Whose state.
            mark: Its fingerprint.
            cursor: Position in the log up to which it has learnt.
            fill: Writes the state into the folder it is given.
        """
        name = plain_name(f"{strategy}-{cursor}-{secrets.token_hex(4)}")
        write_artifact(self._folder / name, fill)

        def work(connection: sqlite3.Connection, seq: int) -> list[str]:
            if connection.execute("SELECT 1 FROM forgotten WHERE seq > ? LIMIT 1", (cursor,)).fetchone():
                return [name]  # it may hold what was forgotten since
            connection.execute(
                "INSERT INTO snapshots (strategy, cursor, fingerprint, folder, at) VALUES (?, ?, ?, ?, ?)",
                (strategy, cursor, mark, name, time.time()),
            )
            old = connection.execute(
                "SELECT folder FROM snapshots WHERE strategy = ? ORDER BY id DESC LIMIT -1 OFFSET ?", (strategy, _KEEP)
            ).fetchall()
            connection.executemany("DELETE FROM snapshots WHERE folder = ?", old)
            return [folder for (folder,) in old]

        for old in self._writer.transact(work):
            remove(self._folder, old)

    def restore(self, strategy: str, mark: str, load: Callable[[Path], None], after: int = 0) -> int:
        """Load the newest usable snapshot beyond ``after`` and return its cursor; 0 means that there is none."""
        query = """SELECT folder, cursor FROM snapshots WHERE strategy = ? AND fingerprint = ? AND cursor > ?
                   ORDER BY cursor DESC, id DESC"""
        rows = self._reader.query(lambda connection: connection.execute(query, (strategy, mark, after)).fetchall())
        for name, cursor in rows:
            try:
                folder = entry(self._folder, name)
                try:
                    check_artifact(folder)
                except CorruptArtifactError:
                    if not self._read_only:
                        set_aside(folder, self._root)
                    raise
                read_state(folder, load)
            except CorruptArtifactError as error:
                _log.warning("snapshot %.80s of %s is not usable, trying an older one: %s", name, strategy, error)
            else:
                return int(cursor)
        return 0

    def before(self, cursor: int) -> list[Snapshot]:
        """Every snapshot that stands before a position: it may hold what was asked to be erased there."""
        query = "SELECT strategy, fingerprint, cursor, folder FROM snapshots WHERE cursor < ? ORDER BY id"
        rows = self._reader.query(lambda connection: connection.execute(query, (cursor,)).fetchall())
        return [Snapshot(*row) for row in rows]

    def rewrite(self, old: Snapshot, load: Callable[[Path], None], fill: Callable[[Path], None]) -> None:
        """Put another state, made from a snapshot's, in its place.

        Raises:
            CorruptArtifactError: if it cannot be read.
        """
        source = entry(self._folder, old.folder)
        check_artifact(source)
        read_state(source, load)
        name = plain_name(f"{old.strategy}-{old.cursor}-{secrets.token_hex(4)}")
        write_artifact(self._folder / name, fill)

        def work(connection: sqlite3.Connection, seq: int) -> None:
            connection.execute("UPDATE snapshots SET folder = ? WHERE folder = ?", (name, old.folder))

        self._writer.transact(work)
        remove(self._folder, old.folder)

    def discard(self, old: Sequence[Snapshot]) -> None:
        """Delete these."""
        names = [(one.folder,) for one in old]

        def work(connection: sqlite3.Connection, seq: int) -> None:
            connection.executemany("DELETE FROM snapshots WHERE folder = ?", names)

        self._writer.transact(work)
        for (name,) in names:
            remove(self._folder, name)

    def tidy(self, **age: float) -> list[str]:
        """Delete what killed processes left, see ``remove_strangers``; the names of what somebody may be writing."""
        query = "SELECT folder FROM snapshots"
        known = self._reader.query(lambda connection: {name for (name,) in connection.execute(query)})
        remove_strangers(self._folder, known, **age)
        return strangers(self._folder, known)
