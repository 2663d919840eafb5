"""Outcomes that wait on disk for a service that is away: sent later, in their order, each counted once."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from router_sdk.errors import ServiceError, ServiceUnavailableError
from router_sdk.private_files import make_private

_TABLES = """
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, report TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (number INTEGER PRIMARY KEY, report TEXT NOT NULL, reason TEXT NOT NULL, at REAL);
"""
_MOST_REFUSED = 1_000
_BUSY_S = 30.0

Report = dict[str, Any]
"""A decision's id, an outcome, and the id of its delivery, as ``/v1/outcomes`` takes them."""


class Waiting(NamedTuple):
    """A report, and its place."""

    number: int
    report: Report


class Outbox:
    """A bounded queue in a SQLite file, for the threads and processes of one machine.

    Each method raises ``ServiceError`` if the file cannot be used.

    Args:
        path: The file.
        most: Reports that may wait.

    Attributes:
        sending: Held by who sends, in any process: so that what came first is sent first.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most = path, most
        self._lock = threading.Lock()
        self.sending = FileLock(path.with_name(path.name + "-sending"))
        with self._lock, self._open() as connection:
            connection.executescript(_TABLES)

    def _open(self) -> _Closing:
        return _Closing(self._path)

    def put(self, report: Report) -> None:
        """Keep a report; it is on disk when this returns.

        Raises:
            ServiceUnavailableError: if as many wait as may.
        """
        with self._lock, self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (count,) = connection.execute("SELECT count(*) FROM waiting").fetchone()
            if count >= self._most:
                raise ServiceUnavailableError(
                    f"the service cannot be reached, and {count:,} outcomes wait for it already in {self._path}, the "
                    "most there may be; nothing of this one is kept"
                )
            connection.execute("INSERT INTO waiting (report) VALUES (?)", (json.dumps(report),))
            connection.execute("COMMIT")

    def first(self, count: int) -> list[Waiting]:
        """Those that have waited longest."""
        with self._lock, self._open() as connection:
            rows = connection.execute("SELECT number, report FROM waiting ORDER BY number LIMIT ?", (count,)).fetchall()
        return [Waiting(number, json.loads(report)) for number, report in rows]

    def settle(self, sent: Sequence[Waiting], refused: Sequence[tuple[Waiting, str]]) -> None:
        """Take out what the service has, and set apart what it refused, with the reason; the newest 1,000 are kept."""
        with self._lock, self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            numbers = [(one.number,) for one in [*sent, *(one for one, _ in refused)]]
            connection.executemany("DELETE FROM waiting WHERE number = ?", numbers)
            rows = [(one.number, json.dumps(one.report), reason, time.time()) for one, reason in refused]
            connection.executemany("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", rows)
            connection.execute(
                "DELETE FROM refused WHERE number NOT IN (SELECT number FROM refused ORDER BY number DESC LIMIT ?)",
                (_MOST_REFUSED,),
            )
            connection.execute("COMMIT")

    def __len__(self) -> int:
        with self._lock, self._open() as connection:
            count: int = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
        return count

    def refused(self) -> list[tuple[Report, str]]:
        """What the service refused, and why, oldest first."""
        with self._lock, self._open() as connection:
            rows = connection.execute("SELECT report, reason FROM refused ORDER BY number").fetchall()
        return [(json.loads(report), reason) for report, reason in rows]


class _Closing:
    """A connection for one step: nothing stays open across forks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        fresh = not self._path.exists()
        try:
            self._connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            if fresh:
                make_private(self._path)
            self._connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise self._fault(error) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *raised: object) -> None:
        with suppress(sqlite3.Error):  # a transaction that failed may have ended already
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> ServiceError:
        return ServiceError(f"the queue of outcomes {self._path} cannot be used: {error}")
