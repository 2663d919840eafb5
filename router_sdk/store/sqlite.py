"""The log in a file: SQLite as the engine of a store, for one machine."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from router_sdk.engine import Engine, Writing
from router_sdk.errors import NotAStoreError, RouterClosedError, StoreBusyError, StoreUnavailableError
from router_sdk.private_files import PRIVATE_FILE, private_folder
from router_sdk.store.artifacts import entry
from router_sdk.store.connection import BUSY_S, DatabaseFile, ProcessLock, open_looker, open_reader, open_writer

if TYPE_CHECKING:
    from router_sdk.engine import Connection, Schema
    from router_sdk.store.log_connection import LogConnection

T = TypeVar("T")

KEPT_BY = "kept-by"
"""File in the folder beside a log that is in no file: it names the engine, so that no file's log moves in."""


class SQLiteEngine(Engine):
    """See ``Engine``.

    Args:
        path: Any name of the file.

    Attributes:
        path: Its real name.
    """

    name = "sqlite"
    unavailable = (sqlite3.OperationalError,)
    errors = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self._file = DatabaseFile(path)
        self.path = self._file.path
        if self.path.is_dir():
            raise StoreUnavailableError(f"{self.path} is a folder; name a file in it")
        self.location = self.shown = str(self.path)
        self.folder = self.path.with_name(self.path.name + ".artifacts")

    @classmethod
    def of(cls, url: str, schema: Schema) -> SQLiteEngine:
        """A file has a name and no URL; its tables are this release's."""
        return cls(Path(url))

    def claim(self) -> None:
        """Make the file if nobody has, unless what stands beside it belongs to another engine's log."""
        if (self.folder / KEPT_BY).exists():
            keeper = (self.folder / KEPT_BY).read_text()[:40]
            raise NotAStoreError(
                f"{self.folder} is the folder of a log in another database ({keeper}): "
                "name another file, for two logs in one folder would learn from each other's files"
            )
        self._file.claim()

    def reader(self) -> Connection:
        """See ``Engine``."""
        return open_reader(self.path)

    def looker(self) -> Connection:
        """See ``Engine``."""
        return open_looker(self.path)

    def writing(self, *, durable: bool = True) -> SQLiteWriting:
        """See ``Engine``."""
        return SQLiteWriting(self._file, durable=durable)

    @contextmanager
    def lease(self, name: str, patience_s: float = 0.0, *, once: bool = False) -> Iterator[None]:
        """A file lock beside the file."""
        path = entry(private_folder(self.folder), f"{name}.lock")
        with FileLock(path, patience_s, PRIVATE_FILE, thread_local=False):
            yield
        if once:
            path.unlink(missing_ok=True)


class SQLiteWriting(Writing):
    """The writer's connection, and the file lock that makes waiting fair between processes.

    Args:
        file: The database file.
        durable: False gives up durability for speed; for throw-away stores only.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        SchemaVersionError: if a newer release wrote it.
    """

    def __init__(self, file: DatabaseFile, *, durable: bool) -> None:
        self._file, self._durable = file, durable
        self._lock = ProcessLock(file.path.with_name(file.path.name + "-lock"))
        self._connection: LogConnection | None = None
        self._data_version = -1
        self._closed = False
        self._connect()

    def _connect(self) -> LogConnection:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")
        if self._connection is None:
            self._connection = open_writer(self._file, self._lock, durable=self._durable)
        return self._connection

    def transact(self, work: Callable[[Connection, Any], T], deadline: float, first: str) -> T:
        """See ``Writing``. It takes its lock at once: to read first and write later defeats ``busy_timeout``.

        Raises:
            StoreUnavailableError: if the file is not the one any more that was opened.
        """
        connection = self._connect()
        self._lock.acquire(deadline)
        moved = False
        try:
            self._begin(connection, deadline)
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            unchanged, self._data_version = version == self._data_version, version
            result = work(connection, None if unchanged else connection.execute(first).fetchone())
            connection.execute("COMMIT")
            moved = self._file.check()  # before anybody is told that it is on disk
        except BaseException:
            self._data_version = -1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()
        if moved:
            self._lock.renew()
        return result

    @staticmethod
    def _begin(connection: sqlite3.Connection, deadline: float) -> None:
        """Take SQLite's own lock, which other programs may hold, and routers whose lock file was deleted."""
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= deadline:
                    raise StoreBusyError("another program keeps the store's database locked; try again") from error
            else:
                return

    def scrub(self, deadline: float) -> bool:
        """Move the write-ahead log's pages into the database and empty it; False if a reader still needs them.

        SQLite waits for readers with its write lock held, so it is not let wait; what can be moved beside others'
        commits is moved first.
        """
        connection = self._connect()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._lock.acquire(deadline)
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1_000)}")
            self._lock.release()
        return not busy

    def disconnect(self) -> None:
        """Close the connection: SQLite's file locks are the parent's alone, and a child would believe it had them."""
        connection, self._connection = self._connection, None  # a signal handler in between opens its own
        self._file.closed()
        self._data_version = -1
        if connection is not None:
            connection.close()

    def after_fork(self) -> None:
        """In a child: a file lock of its own."""
        self._lock.close()

    def close(self) -> None:
        """Close the connection and the lock."""
        self._closed = True
        self.disconnect()
        self._lock.close()
