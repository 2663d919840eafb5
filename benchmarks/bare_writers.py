"""What recording is held against: SQLite alone, as fast as it goes with the same table, ids and durability.

Nothing here checks, joins, locks other processes out or learns.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from router_sdk.store.rows import OUTCOME_COLUMNS
from router_sdk.store.schema import migrate

GROUP = 64
_COLUMNS = OUTCOME_COLUMNS.count(",") + 1
_ROW = f"({', '.join('?' * _COLUMNS)})"
_INSERTS = [f"INSERT INTO outcomes ({OUTCOME_COLUMNS}) VALUES {', '.join([_ROW] * rows)}" for rows in range(GROUP + 1)]


def open_bare(path: Path) -> sqlite3.Connection:
    """A fresh database with the store's schema, in WAL mode with ``synchronous=FULL``."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    migrate(connection)
    return connection


def row(decision_id: str, success: bool) -> tuple[Any, ...]:
    """An outcome's columns, without its position."""
    known = (None, decision_id, time.time(), None, success, 0.8, None, None, None, 850.0, 0.002)
    return (*known, *[None] * (_COLUMNS - 1 - len(known)))


class SingleCommits:
    """One caller, one transaction per outcome."""

    def __init__(self, path: Path) -> None:
        self._connection = open_bare(path)
        self._seq = 0

    def record(self, decision_id: str, success: bool) -> None:
        """Insert and commit one row."""
        self._seq += 1
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        execute(_INSERTS[1], (self._seq, *row(decision_id, success)))
        execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class Groups(ABC):
    """A thread that commits what up to 64 callers have to say at a time; each waits on a lock of its own.

    Who is made is ready to commit before this begins: its thread runs from then on.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Any, threading.Lock] | None] = SimpleQueue()
        self._group: list[tuple[Any, threading.Lock]] = []
        self._own = threading.local()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, said: Any) -> None:
        """Return when it is on disk."""
        try:
            lock = self._own.lock
        except AttributeError:
            lock = self._own.lock = threading.Lock()
            lock.acquire()
        self._queue.put((said, lock))
        lock.acquire()

    def gathered(self) -> list[Any]:
        """What callers have to say by now, to be committed together."""
        group = self._group
        try:
            while len(group) < GROUP and (another := self._queue.get_nowait()) is not None:
                group.append(another)
        except Empty:
            pass
        return [said for said, _ in group]

    @abstractmethod
    def commit(self) -> None:
        """Commit what is ``gathered``."""

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            self._group = [first]
            self.commit()
            for _, lock in self._group:
                lock.release()

    def close(self) -> None:
        """Stop the thread."""
        self._queue.put(None)
        self._thread.join()


class GroupWriter(Groups):
    """Commits up to 64 outcomes at a time.

    Args:
        path: The database file.
        one_statement: Insert a group by one statement with many rows, rather than by ``executemany``, which hands
            the interpreter lock back and forth at each row.
    """

    def __init__(self, path: Path, *, one_statement: bool) -> None:
        self._connection = open_bare(path)
        self._one_statement = one_statement
        self._seq = 0
        super().__init__()

    def record(self, decision_id: str, success: bool) -> None:
        """Return when the row is on disk."""
        self.wait_for(row(decision_id, success))

    def close(self) -> None:
        """Stop the thread and close the file."""
        super().close()
        self._connection.close()

    def commit(self) -> None:
        """One transaction."""
        rows = self.gathered()
        numbered = [(self._seq + i, *columns) for i, columns in enumerate(rows, start=1)]
        self._seq += len(rows)
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if self._one_statement:
            execute(_INSERTS[len(rows)], [value for columns in numbered for value in columns])
        else:
            self._connection.executemany(_INSERTS[1], numbered)
        execute("COMMIT")
