"""The database file: found, claimed, opened, locked, and watched while it is open."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import time
from contextlib import closing
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from router_sdk.errors import NotAStoreError, SchemaVersionError, StoreBusyError, StoreUnavailableError
from router_sdk.private_files import PRIVATE_FILE, make_private
from router_sdk.store.log_connection import LogConnection
from router_sdk.store.schema import APPLICATION_ID, SCHEMA_VERSION, lacks, migrate, missing_tables, newer

_LOCK_POLL_S = 0.0005
_OPENING_S = 30.0
_READING_S = 30.0
BUSY_S = 0.05
"""How long SQLite itself waits for a lock that the file lock does not guard; who commits tries again."""

CACHE_KB = 4_000
"""Pages of the file that a connection keeps. A router has three: it writes, it learns, and it asks now and then."""

_TICK_S = 0.1
_HEADER_BYTES = 100
"""Of a database; SQLite takes a file of one byte for an empty one."""
_BESIDE = ("-wal", "-shm", "-journal", "-lock", ".artifacts")
"""What stands beside a database is called like it, with one of these added."""


class DatabaseFile:
    """The one file behind a name: found through symbolic links, made for its owner alone, and known by its inode.

    A name can come to lead elsewhere while a file is open: it is deleted, moved, replaced. What is committed then is in
    nobody's reach, so ``check`` comes between a commit and its acknowledgement.

    SQLite alone opens the file: closing it otherwise would release SQLite's locks on it, which are the process's.

    Args:
        location: Any name of the file.

    Attributes:
        path: Its real name.
    """

    def __init__(self, location: Path) -> None:
        try:
            self.path = location.expanduser().absolute().resolve()
            self.path.with_name(self.path.name + ".artifacts").exists()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a home of nobody's, a NUL, a long name
            raise StoreUnavailableError(f"cannot open {str(location)!r}: {error}") from error
        self._wal = self.path.with_name(self.path.name + "-wal")
        self._identity: _Identity | None = None
        self._wal_identity: _Identity | None = None
        self._beside = str(self.path.parent)
        self._seen: tuple[int, ...] | None = None

    def claim(self) -> None:
        """Make the file if nobody has, and remember which one it is.

        Raises:
            NotAStoreError: if it is something else than a store; it is left as it was.
            StoreUnavailableError: if it cannot be made, is not the file that was open before, has a second name,
                beside which SQLite would keep a second write-ahead log, or what stands beside it is elsewhere.
        """
        if self._identity is not None:
            self.check()
            return
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot open the store {self.path}: {error.strerror}; make the folder, or choose another"
            ) from error
        self.look()
        self._identity = _identity(self.path)
        for beside in ("", *_BESIDE):  # an earlier release let others read them
            make_private(self.path.with_name(self.path.name + beside))

    def look(self) -> None:
        """Look whether there is a file that can be a store; nothing is made or changed by that.

        Raises:
            NotAStoreError: if it is something else.
            StoreUnavailableError: if it is not there, has a second name, or what stands beside it is elsewhere.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise StoreUnavailableError(f"cannot open {self.path}: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode) or 0 < found.st_size < _HEADER_BYTES:
            raise NotAStoreError(f"{self.path.name} is no database; name another file")
        if found.st_nlink > 1:
            raise StoreUnavailableError(
                f"{self.path.name} has {found.st_nlink} names (hard links), and SQLite would keep a log beside each; "
                "use a symbolic link"
            )
        *files, folder = (self.path.with_name(self.path.name + beside) for beside in _BESIDE)
        for beside in (*files, *folder.glob("*")):
            if beside.is_symlink():
                raise StoreUnavailableError(f"{beside} is a symbolic link; what belongs to a store stands beside it")
        try:  # what is in the file itself, past every lock and log
            with closing(_connect(self.path, "ro&immutable=1", 0.0)) as connection:
                owned = _owned(connection, self.path)
            if not owned and self.has_log():  # which may hold all there is
                with closing(_connect(self.path, "ro", BUSY_S)) as connection:
                    _owned(connection, self.path)
        except sqlite3.Error as error:  # else somebody writes, and whoever opens it looks again
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise unusable(self.path, error) from error

    def has_log(self) -> bool:
        """Whether there is a write-ahead log: of a process that has the file open, or that died."""
        return self._wal.exists()

    def opened(self) -> None:
        """Remember which write-ahead log goes with the open connection."""
        self._wal_identity = _identity(self._wal)
        self._seen = None

    def closed(self) -> None:
        """The next connection may have another write-ahead log."""
        self._wal_identity = None

    def check(self) -> bool:
        """Look whether the name still leads to the file that was opened.

        Only a change of the folder can have led it elsewhere, and only then are the files themselves looked at: on
        Linux from 6.13 on, asking for the times of a file between two writes makes the second one, and its way to the
        disk, half as slow again.

        Returns:
            Whether anything in the folder was made, renamed or deleted since the last check.

        Raises:
            StoreUnavailableError: if the file is out of reach; nothing may be acknowledged then.
        """
        try:
            found = os.stat(self._beside)
        except OSError:
            found = None
        folder = None if found is None else (found.st_dev, found.st_ino, found.st_mtime_ns)
        if folder is not None and folder == self._seen:
            return False
        if _identity(self.path) != self._identity:
            raise StoreUnavailableError(
                f"{self.path} is not the file any more that was opened: it was deleted, moved or replaced; put it "
                "back, or open a new router"
            )
        if self._wal_identity is not None and _identity(self._wal) != self._wal_identity:
            raise StoreUnavailableError(
                f"{self._wal.name} was deleted while the store is open; close every router on it and open new ones"
            )
        # A change in the same tick of the file system's clock would leave the time as it is.
        settled = found is not None and time.time() - found.st_mtime > _TICK_S
        self._seen = folder if settled else None
        return True


_Identity = tuple[int, int]


def _owned(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a database is a store; False where it is as empty as a file that is about to be one.

    Raises:
        NotAStoreError: if it is another program's.
    """
    if is_store(connection):
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables or connection.execute("PRAGMA application_id").fetchone() != (0,):
        raise NotAStoreError(f"{path.name} is the database of another program; name another file")
    return False


def _identity(path: Path) -> _Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class ProcessLock:
    """A file lock around commits and checkpoints: SQLite's own back-off starves writers between processes.

    It makes waiting fair and does no more: what is right rests on SQLite's own locks, so that a lock file that somebody
    deletes costs patience and no data. Not reentrant; one thread at a time.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def renew(self) -> None:
        """Something in the folder was changed: the name may lead to another file by now, or to none."""
        if self._descriptor >= 0:
            here = os.fstat(self._descriptor)
            if _identity(self._path) != (here.st_dev, here.st_ino):
                self.close()

    def acquire(self, deadline: float) -> None:
        """Wait for the lock, until a time of the monotonic clock.

        Raises:
            StoreBusyError: if another process held it for so long.
            StoreUnavailableError: if the lock file cannot be opened.
        """
        if self._descriptor < 0:
            self._open()
        while not lock_descriptor(self._descriptor, blocking=False):
            if time.monotonic() >= deadline:
                raise StoreBusyError("another process keeps the store locked; try again")
            time.sleep(_LOCK_POLL_S)

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), PRIVATE_FILE)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot open the store in {self._path.parent}: {error.strerror}; make the folder, or choose another"
            ) from error

    def release(self) -> None:
        """Let the next process in."""
        unlock_descriptor(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _connect(path: Path, mode: str, timeout_s: float) -> LogConnection:
    """A connection to a file that is there: SQLite would make one where it is not."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=timeout_s,
        factory=LogConnection,
    )


def unusable(path: Path, error: sqlite3.Error) -> StoreUnavailableError:
    """What to raise where SQLite cannot open a file."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return NotAStoreError(f"{path.name} is no database; name another file")
    return StoreUnavailableError(f"cannot open {path} as a store: {error}")


def open_reader(path: Path) -> LogConnection:
    """Open a connection that only reads: it sees whole commits and never blocks a writer.

    Raises:
        StoreUnavailableError: if there is no such file.
    """
    try:
        connection = _connect(path, "rw", _READING_S)
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return connection


_TABLES = {"agents", "agent_sets", "decisions", "outcomes", "payloads", "vectors", "forgotten", "positions"}


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether a database is a store: by its ``application_id``, or from before there was one, by its tables."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner == 0:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        return version > 0 and tables >= _TABLES
    return bool(owner == APPLICATION_ID)


def open_looker(path: Path) -> LogConnection:
    """Open a store to look: nothing in it is changed, not even where that would be needed to use it.

    Raises:
        NotAStoreError: if it is not a store.
        StoreUnavailableError: if it is not there, or of a release whose tables only a writer brings up to date.
        SchemaVersionError: if a newer release wrote it.
    """
    file = DatabaseFile(path)
    file.look()
    try:
        # Who may write takes SQLite's side files away again, but would write back a log that a dead process left.
        connection = _connect(file.path, "ro" if file.has_log() else "rw", _READING_S)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:  # a read-only medium has no room for SQLite's own side files
            connection.close()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            connection = _connect(file.path, "ro&immutable=1", _READING_S)
        connection.execute("PRAGMA query_only = ON")
        ours = is_store(connection)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise unusable(file.path, error) from error
    if ours and version == SCHEMA_VERSION and not (missing := missing_tables(connection)):
        return connection
    connection.close()
    if ours and version == SCHEMA_VERSION:
        raise NotAStoreError(lacks(missing))
    if not ours:
        raise NotAStoreError(f"{file.path.name} is the database of another program")
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(newer(version))
    raise StoreUnavailableError(
        f"{file.path.name} is of an earlier release, and nothing is changed by looking: open a router on it once"
    )


def open_writer(file: DatabaseFile, lock: ProcessLock, *, durable: bool = True) -> LogConnection:
    """Open the writer's connection in WAL mode, every commit on disk before it returns, and migrate the file.

    One process at a time does so.

    Args:
        file: Which.
        lock: Held meanwhile.
        durable: False gives up durability for speed; for throw-away stores only.

    Raises:
        StoreUnavailableError: if the file cannot be opened.
        NotAStoreError: if it is something else.
        SchemaVersionError: if a newer release wrote it.
    """
    lock.acquire(time.monotonic() + _OPENING_S)
    try:
        file.claim()
        try:
            connection = _connect(file.path, "rw", _OPENING_S)
            try:
                _set_up(connection, file.path, durable=durable)
                migrate(connection)
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1_000)}")
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise unusable(file.path, error) from error
        file.opened()
        return connection
    finally:
        lock.release()


def _set_up(connection: sqlite3.Connection, path: Path, *, durable: bool) -> None:
    if not _owned(connection, path):  # before there is a first page, or never
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = ON")
