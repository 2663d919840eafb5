"""A backup: a folder with the log as it stood at one moment, and with everything beside it that the log names.

The log is copied first, while others write, and says what belongs to it: folders that are written once and never
changed, so that it does not matter that they are copied a little later. Where one is gone by then, because ``forget``
wrote it anew or newer ones took its place, the whole is begun again. The manifest is written last: a folder without one
is half a backup, and nothing is restored from it.

What is there is a store like any other, to look at. It is not reached by a later ``forget``.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.engine import Connection
from router_sdk.errors import CorruptArtifactError, InvalidInputError, StoreUnavailableError
from router_sdk.lifetime import no_fork
from router_sdk.private_files import make_private, private_folder, write_private
from router_sdk.store.artifacts import archives, check_artifact, entry, files_in, sha256, sync
from router_sdk.store.connection import open_looker, open_reader
from router_sdk.store.coordination import pending_intents
from router_sdk.store.store import Store
from router_sdk.store.transaction import HEAD

Verify = Callable[[Store], None]

LOG, BESIDE, MANIFEST = "router.db", "router.db.artifacts", "backup.json"
"""What a backup consists of."""

_ATTEMPTS = 5
_PIECE_BYTES = 1 << 20
# Snapshots first: they are the first to be replaced.
_FOLDERS = """SELECT 'snapshots' AS kind, folder FROM snapshots
              UNION ALL SELECT 'versions', folder FROM model_versions WHERE pruned_at IS NULL ORDER BY kind"""


class FileMark(BaseModel):
    """What a file of a backup must be: its checksum, and its size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class BackupReport(BaseModel):
    """What a backup says of itself; kept in it as its manifest.

    Attributes:
        format: Of the manifest.
        at: When the log was copied, in seconds since the epoch.
        schema_version: Of the log's tables.
        head: Newest position in the log.
        decisions: How many there are.
        outcomes: How many there are.
        verified: Whether the copied log was replayed.
        damaged: What the store itself had damaged or lost: snapshots and versions, which are not in the backup, and
            archives, which are.
        files: Every other file by its name, with ``/`` between folders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal[1] = 1
    at: float
    schema_version: int
    head: int
    decisions: int
    outcomes: int
    verified: bool
    damaged: tuple[str, ...] = ()
    files: dict[str, FileMark]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(mark.size for mark in self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values; of the files, how many and how large."""
        return {**self.model_dump(mode="json", exclude={"files"}), "files": len(self.files), "bytes": self.size}


def backup(store: Store, target: Path, verify: Verify | None = None) -> BackupReport:
    """Copy a store into a folder for its owner alone, while any process goes on writing to it.

    Args:
        store: What to copy; everything that was on disk before the call is in the backup.
        target: A folder that does not exist yet, or is empty.
        verify: Replays the copied log, and raises where that does not give what was learnt; None trusts the copy.

    Raises:
        InvalidInputError: if the target is something else.
        StoreUnavailableError: if something cannot be read or written, or changes faster than it can be copied.
        CorruptArtifactError: if the copied log is damaged.
    """
    folder = _claim(target)
    try:
        return _whole(store, folder, verify)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # nothing was in it before
        if isinstance(error, (OSError, sqlite3.Error)):
            raise StoreUnavailableError(f"the backup to {target} failed, and was deleted: {error}") from error
        raise


def _claim(target: Path) -> Path:
    folder = target.expanduser().absolute()
    try:
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidInputError(f"{target} is no folder, or not empty; a backup needs one of its own")
        make_private(private_folder(folder))
    except OSError as error:
        raise StoreUnavailableError(f"{target} cannot be a folder for a backup: {error.strerror}") from error
    return folder


class _ChangedError(Exception):
    """Something that the copied log names is gone, and the log itself names it no more."""


def _whole(store: Store, folder: Path, verify: Verify | None) -> BackupReport:
    for _ in range(_ATTEMPTS):
        try:
            return _attempt(store, folder, verify)
        except _ChangedError:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    raise StoreUnavailableError("what stands beside the log changes faster than it can be copied; try again")


def _attempt(store: Store, folder: Path, verify: Verify | None) -> BackupReport:
    at, archived = time.time(), _inodes(store)
    _copy_log(store, folder / LOG)
    with closing(open_looker(folder / LOG)) as connection:
        named = _named(connection)
    damaged = [f"{kind}/{name}" for kind, name in named.folders if not _copy_folder(store, kind, name, folder / BESIDE)]
    _copy_files(store.folder, folder / BESIDE, named, archived)
    if _inodes(store) != archived:
        raise _ChangedError
    if verify is not None:
        _verify(folder / LOG, verify)
        damaged += [f"archive/{path.name}" for path in archives(folder / BESIDE) if not _unpacks(path)]
    report = BackupReport(
        at=at,
        schema_version=named.schema_version,
        head=named.head,
        decisions=named.decisions,
        outcomes=named.outcomes,
        verified=verify is not None,
        damaged=tuple(damaged),
        files={
            path.relative_to(folder).as_posix(): FileMark(sha256=sha256(path), size=path.stat().st_size)
            for path in files_in(folder)
        },
    )
    for path in (*(inner for inner in folder.rglob("*") if inner.is_dir()), folder, folder.parent):
        sync(path)  # before there is a manifest that vouches for them; the files are on disk
    write_private(folder / MANIFEST, report.model_dump_json(indent=1))
    sync(folder / MANIFEST)
    sync(folder)
    return report


def _inodes(store: Store) -> dict[str, int]:
    """The archives: a new name was begun meanwhile, and a new inode was written anew by ``forget``."""
    return {path.name: path.stat().st_ino for path in archives(store.folder)}


# -- the log


def _copy_log(store: Store, copy: Path) -> None:
    """Copy the database in one step, from a connection of its own.

    SQLite holds a read transaction for the length of a step, and in WAL mode that keeps no writer waiting. Between two
    steps it holds none, and a commit of any other connection in between makes the copy start from the beginning
    (https://www.sqlite.org/c3ref/backup_finish.html): against one busy writer, 200 MB took 0.4 s in one step, and were
    not there after 8 s and 3,306 new starts in steps of 100 pages.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        no_fork(),
        closing(open_looker(store.path) if store.read_only else open_reader(store.path)) as source,
        closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        target.execute("PRAGMA synchronous = OFF")  # it is synced as a whole
        source.execute("SELECT 1 FROM sqlite_schema").fetchone()  # a fault is raised here; a copy would try on forever
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = DELETE")  # so that who looks at it leaves no files beside it
    sync(copy)


class _Named(NamedTuple):
    """What a log says of itself.

    Attributes:
        folders: Kind and name of each folder that belongs to it.
        reports: Names of the reports that may.
        growing: Archives that are not whole, and their length so far: what follows is still in the log.
    """

    folders: list[tuple[str, str]]
    reports: list[str]
    growing: dict[str, int]
    schema_version: int
    head: int
    decisions: int
    outcomes: int


def _named(connection: Connection) -> _Named:
    def number(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    reports = connection.execute("SELECT strategy || '-' || version || '.json' FROM model_versions").fetchall()
    growing = [intent.body for intent in pending_intents(connection) if intent.kind == "archive"]
    return _Named(
        connection.execute(_FOLDERS).fetchall(),
        [name for (name,) in reports],
        {body["file"]: int(body["bytes"]) for body in growing},
        number("PRAGMA user_version"),
        number(HEAD),
        number("SELECT count(*) FROM decisions"),
        number("SELECT count(*) FROM outcomes"),
    )


def _verify(log: Path, verify: Verify) -> None:
    with closing(open_looker(log)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise CorruptArtifactError(f"the copied log is damaged, and so may be the store: {found}")
    with closing(Store(log, read_only=True)) as copied:
        verify(copied)


# -- what stands beside it


def _copy_folder(store: Store, kind: str, name: str, beside: Path) -> bool:
    """Copy a snapshot or a version, and compare it with its manifest; whether the store still had it whole."""
    try:
        source = entry(store.folder / kind, name)
        copy = beside / kind / source.name
        try:
            for path in files_in(source):
                copy_private(path, copy / path.relative_to(source))
            check_artifact(copy)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
    except (CorruptArtifactError, FileNotFoundError) as error:
        # Rows go before their folders do: what a row still names was not replaced.
        if (kind, name) not in store.reader.query(lambda connection: connection.execute(_FOLDERS).fetchall()):
            raise _ChangedError from error
        return False
    return True


def _copy_files(source: Path, beside: Path, named: _Named, archived: dict[str, int]) -> None:
    """Copy what stands beside the log as a file."""
    for name in named.reports:
        if (report := entry(source / "reports", name)).exists():  # it is written after its version's row
            copy_private(report, beside / "reports" / name)
    for name in archived:
        most = named.growing.get(name)
        if most != 0:
            copy_private(source / "archive" / name, beside / "archive" / name, most)
    if (key := entry(source, "privacy.key")).exists():
        copy_private(key, beside / key.name)


def _unpacks(archive: Path) -> bool:
    """Whether a compressed file is whole, by its own checksums."""
    try:
        with gzip.open(archive) as file:
            while file.read(_PIECE_BYTES):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def copy_private(source: Path, target: Path, most: int | None = None) -> None:
    """Copy a file, or its first bytes, to where its owner alone can read it; on disk when this returns.

    A symbolic link is not followed, and nothing is written over.
    """
    private_folder(target.parent)
    with open(source, "rb", opener=_no_link) as file, open(target, "xb", opener=_owner_only) as copy:
        left = file.seek(0, os.SEEK_END) if most is None else most
        file.seek(0)
        while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
            copy.write(piece)
            left -= len(piece)
        copy.flush()
        os.fsync(copy.fileno())


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
