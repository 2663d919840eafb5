"""Snapshots of folded state: a folder beside the database and a row that says where in the log it stands."""

from __future__ import annotations

import hashlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.errors import CorruptArtifactError
from router_sdk.store.artifacts import check_artifact, write_artifact

if TYPE_CHECKING:
    import sqlite3

    from router_sdk.store.writer import LogWriter

_KEEP = 2
_log = logging.getLogger(__name__)


def fingerprint(*parts: str) -> str:
    """Condense everything that a state depends on besides the log."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


class Snapshots:
    """Saves and finds snapshots; the newest two of each strategy are kept.

    Args:
        writer: Where the rows are written.
        folder: The store's folder for artefacts.
    """

    def __init__(self, writer: LogWriter, folder: Path) -> None:
        self._writer = writer
        self._folder = folder / "snapshots"

    def save(self, strategy: str, mark: str, cursor: int, fill: Callable[[Path], None]) -> None:
        """Write a strategy's state as of ``cursor``.

        Args:
            strategy: Whose state.
            mark: Its fingerprint.
            cursor: Position in the log up to which it has learnt.
            fill: Writes the state into the folder it is given.
        """
        name = f"{strategy}-{cursor}-{secrets.token_hex(4)}"
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

        for folder in self._writer.transact(work):
            shutil.rmtree(self._folder / folder, ignore_errors=True)

    def restore(
        self, connection: sqlite3.Connection, strategy: str, mark: str, load: Callable[[Path], None], after: int = 0
    ) -> int:
        """Load the newest usable snapshot beyond ``after`` and return its cursor; 0 means that there is none."""
        rows = connection.execute(
            """SELECT folder, cursor FROM snapshots WHERE strategy = ? AND fingerprint = ? AND cursor > ?
               ORDER BY cursor DESC, id DESC""",
            (strategy, mark, after),
        ).fetchall()
        for folder, cursor in rows:
            try:
                check_artifact(self._folder / folder)
                load(self._folder / folder)
            except (CorruptArtifactError, OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("snapshot %s of %s is not usable, trying an older one: %s", folder, strategy, error)
            else:
                return int(cursor)
        return 0

    def discard(self) -> None:
        """Delete every snapshot: they may hold what a session asked to have erased."""

        def work(connection: sqlite3.Connection, seq: int) -> None:
            connection.execute("DELETE FROM snapshots")

        self._writer.transact(work)
        shutil.rmtree(self._folder, ignore_errors=True)
