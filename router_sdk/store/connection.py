"""Opening the database file, and the one way to write to it."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from router_sdk.errors import StoreUnavailableError
from router_sdk.store.schema import migrate

_LOCK_POLL_S = 0.0005
_BUSY_TIMEOUT_S = 30.0


class ProcessLock:
    """A file lock around commits and checkpoints: SQLite's own back-off starves writers between processes.

    Not reentrant; hold a thread lock around it. Each holder leaves its stamp in the file, so that the next one sees
    whether somebody else wrote in between; that costs a tenth of asking SQLite.

    Attributes:
        changed_hands: Whether another holder had the lock since this one had it last.
    """

    def __init__(self, path: Path) -> None:
        self._stamp = os.urandom(16)
        self.changed_hands = True
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot open the store in {path.parent}: {error.strerror}; make the folder, or choose another"
            ) from error

    def acquire(self, timeout_s: float) -> None:
        """Wait for the lock.

        Raises:
            StoreUnavailableError: if another process held it for ``timeout_s`` seconds.
        """
        if not lock_descriptor(self._descriptor, blocking=False):
            deadline = time.monotonic() + timeout_s
            while not lock_descriptor(self._descriptor, blocking=False):
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(f"another process held the store's lock for {timeout_s:g} s")
                time.sleep(_LOCK_POLL_S)
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self.changed_hands = os.read(self._descriptor, 16) != self._stamp
            if self.changed_hands:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, self._stamp)
        except OSError:
            unlock_descriptor(self._descriptor)
            raise

    def release(self) -> None:
        """Let the next process in."""
        unlock_descriptor(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def open_connection(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open the database in WAL mode, with every commit on disk before it returns.

    ``busy_timeout`` comes first, because switching the journal mode may itself have to wait.

    Args:
        path: The database file.
        durable: False gives up durability for speed; for throw-away stores only.

    Raises:
        StoreUnavailableError: if the file cannot be opened, or is no database.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA cache_size = -32000")
        connection.execute("PRAGMA temp_store = MEMORY")
        if sys.platform == "darwin":
            connection.execute("PRAGMA fullfsync = ON")
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"cannot open {path.name}: {error}; check the path and its permissions") from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads: it sees whole commits and never blocks a writer."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -64000")
    return connection


def initialise(path: Path, lock: ProcessLock, *, durable: bool = True) -> sqlite3.Connection:
    """Open the writer's connection and migrate, one process at a time.

    Raises:
        StoreUnavailableError: if the file cannot be opened, or is no database.
        SchemaVersionError: if a newer release wrote it.
    """
    lock.acquire(_BUSY_TIMEOUT_S)
    try:
        connection = open_connection(path, durable=durable)
        try:
            migrate(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreUnavailableError(f"{path.name} cannot be used as a store: {error}") from error
        return connection
    finally:
        lock.release()
