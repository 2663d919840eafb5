"""Saved states beside the database: snapshots of folds, and the large parts that processes serve from.

A snapshot is a folder and a row that says where in the log it stands. A large, immutable part, such as a fine-tuned
encoder, is in it as hard links, so that every snapshot and version is whole and none costs the space again. What
*serves* needs a place that outlasts the folder it was loaded from, because snapshots come and go: under the digest of
its content, guarded by a lock that the operating system lets go of when its holder ends, however it ends.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.errors import CorruptArtifactError
from router_sdk.private_files import DRAFT, private_folder
from router_sdk.store.artifacts import (
    check_artifact,
    files_in,
    plain_name,
    read_state,
    remove_strangers,
    set_aside,
    sha256,
)
from router_sdk.store.folders import Folders

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from router_sdk.engine import Connection, Shelf
    from router_sdk.store.group_commit import LogWriter
    from router_sdk.store.reader import LogReader

_NEWEST, _MOST = 2, 8
"""Of each strategy, how many of the newest snapshots are kept, and how many in all."""
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
    """Saves and finds snapshots.

    Of each strategy the newest two are kept, and up to six older ones at growing distances: whoever has to go back in
    the log finds one that is not much further back.

    Args:
        writer: Where the rows are written.
        reader: Where they are read.
        folder: The store's folder for artefacts.
        shelf: Where all machines find them, see ``Folders``.
        read_only: Whether nothing may be changed; then what is damaged stays where it is.
    """

    def __init__(
        self,
        writer: LogWriter,
        reader: LogReader,
        folder: Path,
        shelf: Shelf | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self._writer, self._reader, self._read_only = writer, reader, read_only
        self._root = folder
        self._folders = Folders(folder, "snapshots", shelf)

    def save(self, strategy: str, mark: str, cursor: int, fill: Callable[[Path], None]) -> None:
        """Write a strategy's state as of ``cursor``.

        Args:
            strategy: Whose state.
            mark: Its fingerprint.
            cursor: Position in the log up to which it has learnt.
            fill: Writes the state into the folder it is given.
        """
        name = plain_name(f"{strategy}-{cursor}-{secrets.token_hex(4)}")
        self._folders.write(name, fill)

        def work(connection: Connection, seq: int) -> list[str]:
            if connection.execute("SELECT 1 FROM forgotten WHERE seq > ? LIMIT 1", (cursor,)).fetchone():
                return [name]  # it may hold what was forgotten since
            connection.execute(
                "INSERT INTO snapshots (strategy, cursor, fingerprint, folder, at) VALUES (?, ?, ?, ?, ?)",
                (strategy, cursor, mark, name, time.time()),
            )
            query = "SELECT folder, cursor FROM snapshots WHERE strategy = ? ORDER BY id DESC"
            old = _dispensable(connection.execute(query, (strategy,)).fetchall())
            connection.executemany("DELETE FROM snapshots WHERE folder = ?", [(folder,) for folder in old])
            return old

        for old in self._writer.transact(work):
            self._folders.remove(old)

    def restore(
        self,
        strategy: str,
        mark: Callable[[int], str],
        load: Callable[[Path], None],
        after: int = 0,
        *,
        oldest: bool = False,
    ) -> int:
        """Load the newest usable snapshot beyond ``after`` and return its cursor; 0 means that there is none.

        Args:
            strategy: Whose.
            mark: The fingerprint that one must have which stands at a position.
            load: Reads the state from a folder.
            after: Position beyond which it must stand.
            oldest: Whether to load the oldest one instead.
        """
        query = (
            "SELECT folder, cursor, fingerprint FROM snapshots WHERE strategy = ? AND cursor > ? ORDER BY cursor, id"
        )
        found = self._reader.query(lambda connection: connection.execute(query, (strategy, after)).fetchall())
        rows = [(name, cursor) for name, cursor, held in (found if oldest else found[::-1]) if held == mark(cursor)]
        for name, cursor in rows:
            try:
                folder = self._folders.path(name)
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

    def newest(self, strategy: str, mark: Callable[[int], str], after: int, upto: int) -> int:
        """Cursor of the newest snapshot beyond ``after`` and not beyond ``upto``, with its right mark; 0 without one.

        Args:
            strategy: Whose.
            mark: As for ``restore``.
            after: Position beyond which it must stand.
            upto: Position beyond which it must not.
        """
        query = """SELECT cursor, fingerprint FROM snapshots WHERE strategy = ? AND cursor > ? AND cursor <= ?
                   ORDER BY cursor DESC"""
        rows = self._reader.query(lambda connection: connection.execute(query, (strategy, after, upto)).fetchall())
        return next((int(cursor) for cursor, held in rows if held == mark(cursor)), 0)

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
        source = self._folders.path(old.folder)
        check_artifact(source)
        read_state(source, load)
        name = plain_name(f"{old.strategy}-{old.cursor}-{secrets.token_hex(4)}")
        self._folders.write(name, fill)

        def work(connection: Connection, seq: int) -> None:
            connection.execute("UPDATE snapshots SET folder = ? WHERE folder = ?", (name, old.folder))

        self._writer.transact(work)
        self._folders.remove(old.folder)

    def discard(self, old: Sequence[Snapshot]) -> None:
        """Delete these."""
        names = [(one.folder,) for one in old]

        def work(connection: Connection, seq: int) -> None:
            connection.executemany("DELETE FROM snapshots WHERE folder = ?", names)

        self._writer.transact(work)
        for (name,) in names:
            self._folders.remove(name)

    def tidy(self, **age: float) -> list[str]:
        """Delete what killed processes left, see ``remove_strangers``; the names of what somebody may be writing."""
        query = "SELECT folder FROM snapshots"
        known = self._reader.query(lambda connection: {name for (name,) in connection.execute(query)})
        return self._folders.tidy(known, **age)


def _dispensable(kept: Sequence[tuple[str, int]]) -> list[str]:
    """Which snapshots to give up so that no more than so many are left.

    The distances of those that stay, from the newest, grow as evenly as may be (by the same factor). The oldest stays.

    Args:
        kept: Folder and cursor of each, the one that was saved last first.
    """
    newest = max(cursor for _, cursor in kept)
    ages = sorted((newest - cursor + 1, place, folder) for place, (folder, cursor) in enumerate(kept))
    gone = []
    while len(ages) > _MOST:
        between = [nth for nth in range(1, len(ages) - 1) if ages[nth][1] >= _NEWEST]
        closest = min(between, key=lambda nth: ages[nth + 1][0] / ages[nth - 1][0])
        gone.append(ages.pop(closest)[2])
    return gone


# -- parts


def link_folder(source: Path, target: Path) -> None:
    """Fill a folder with hard links to another one's files; with copies where the file system has none."""
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: Any, target: Any) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class KeptFolder:
    """A folder that stays for as long as this object is there, or until ``release``.

    Attributes:
        path: Where it stands; never written to.
    """

    def __init__(self, path: Path, descriptor: int = -1) -> None:
        self.path = path
        self._descriptor = descriptor

    def __fspath__(self) -> str:
        return str(self.path)

    def release(self) -> None:
        """Need it no more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()


class KeptFolders:
    """The parts that processes on one store serve from.

    Args:
        folder: The store's folder for artefacts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "parts"

    def keep(self, source: Path) -> KeptFolder:
        """A lasting place for what stands in a folder now.

        Args:
            source: Written whole and never again.
        """
        name = _digest(source)
        while True:
            held = self._hold(self._place(source, name))
            if held is not None:
                return held

    def _place(self, source: Path, name: str) -> Path:
        place = private_folder(self._folder) / name
        if not place.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._folder))
            try:
                link_folder(source, draft)
                draft.rename(place)
            except OSError as error:
                shutil.rmtree(draft, ignore_errors=True)
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else somebody was faster
                    raise
        return place

    @staticmethod
    def _hold(place: Path) -> KeptFolder | None:
        """Take a shared lock on a folder; None where it was deleted meanwhile."""
        if sys.platform == "win32":  # which keeps a folder with an open file in it
            return KeptFolder(place, os.open(files_in(place)[0], os.O_RDONLY))
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.stat(place), os.fstat(descriptor)):
                return KeptFolder(place, descriptor)
        except FileNotFoundError:
            pass
        os.close(descriptor)
        return None

    def sweep(self) -> None:
        """Delete the parts that no process serves from; snapshots and versions have links of their own."""
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        parts = {place.name: place for place in found if not place.name.startswith(DRAFT)}
        for place in parts.values():
            self._delete(place)
        remove_strangers(self._folder, parts)

    @staticmethod
    def _delete(place: Path) -> None:
        if sys.platform == "win32":
            shutil.rmtree(place, ignore_errors=True)
            return
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            doomed = place.with_name(f"{DRAFT}{place.name}-{os.getpid()}")
            place.rename(doomed)  # who waits for the lock finds another folder, or none
            shutil.rmtree(doomed, ignore_errors=True)
        except OSError:
            return  # it serves
        finally:
            os.close(descriptor)


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in files_in(folder):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return whole.hexdigest()[:32]
