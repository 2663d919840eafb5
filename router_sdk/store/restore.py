"""Restoring a backup: checked file by file, put beside the place where it shall stand, and moved there at the end.

Nothing in a backup is trusted: the manifest's names are compared with those of the files that are there, and open none.
What stands at the target is moved aside and never deleted.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from router_sdk.errors import CorruptArtifactError, InvalidInputError, SchemaVersionError, StoreUnavailableError
from router_sdk.private_files import DRAFT
from router_sdk.records.record import describe
from router_sdk.store.artifacts import files_in, sha256, sync
from router_sdk.store.backup import BESIDE, LOG, MANIFEST, BackupReport, copy_private
from router_sdk.store.connection import DatabaseFile, ProcessLock
from router_sdk.store.identity import new_id
from router_sdk.store.schema import SCHEMA_VERSION, newer

_PATIENCE_S = 5.0
_SUFFIXES = ("", "-wal", "-shm", "-journal", ".artifacts")
"""Of the names of what a store consists of; the database goes first, so that nobody opens half of one."""


class Restored(NamedTuple):
    """What was restored.

    Attributes:
        path: The database file.
        aside: Where the database file lies that stood there before, or would; None where nothing stood there.
        report: What the backup says of itself.
    """

    path: Path
    aside: Path | None
    report: BackupReport


def restore(source: Path, target: Path, *, force: bool = False) -> Restored:
    """Put a backup in a store's place.

    Args:
        source: The folder that ``backup`` wrote.
        target: The database file.
        force: Whether a store that is there is moved aside.

    Raises:
        CorruptArtifactError: if the backup is not whole, or not as it was written; the target is as it was.
        SchemaVersionError: if a newer release wrote it.
        InvalidInputError: if there is something at the target, and ``force`` was not given.
        StoreUnavailableError: if a process has the target open, or something cannot be written.
    """
    path = DatabaseFile(target).path
    if path.is_dir():
        raise StoreUnavailableError(f"{path} is a folder; name a file in it")
    if source.resolve() in path.parents:
        raise InvalidInputError(f"{path} lies in the backup itself, which would be none any more; choose another place")
    try:
        report = read_manifest(source)
        with _locked(path):
            there = _parts(path)
            if there and not force:
                raise InvalidInputError(
                    f"{there[0]} is there already; --force (in Python force=True) moves it aside, and deletes nothing"
                )
            if path in there:
                _require_unused(path)
            return Restored(path, _put(source, report, path), report)
    except OSError as error:
        raise StoreUnavailableError(f"cannot restore to {path}: {error}") from error


def _parts(path: Path) -> list[Path]:
    """Those parts of a store that are there."""
    parts = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
    return [part for part in parts if os.path.lexists(part)]


def read_manifest(source: Path) -> BackupReport:
    """Read what a backup says of itself, and compare names and sizes of its files with that.

    Raises:
        CorruptArtifactError: if it is no whole backup, or a file is missing, added or of another size.
        SchemaVersionError: if a newer release wrote it.
    """
    found = {path.relative_to(source).as_posix(): path.stat().st_size for path in files_in(source)}
    if found.pop(MANIFEST, None) is None:
        raise CorruptArtifactError(f"{source} is no whole backup: without a {MANIFEST}, it is none, or was cut off")
    try:
        report = BackupReport.model_validate_json((source / MANIFEST).read_bytes())
    except ValidationError as error:
        raise CorruptArtifactError(f"{MANIFEST}: {describe(error)[:300]}") from None
    except OSError as error:
        raise CorruptArtifactError(f"{MANIFEST} cannot be read: {error.strerror}") from error
    if report.schema_version > SCHEMA_VERSION:
        raise SchemaVersionError(newer(report.schema_version))
    expected = {name: mark.size for name, mark in report.files.items()}
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    wrong += [name for name in found if name != LOG and not name.startswith(f"{BESIDE}/")]
    if wrong or LOG not in found:
        raise CorruptArtifactError(f"{source}: {', '.join(wrong or [LOG])[:300]} do not match the manifest")
    return report


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep every process from opening a store there to write."""
    lock = ProcessLock(path.with_name(path.name + "-lock"))
    try:
        lock.acquire(time.monotonic() + _PATIENCE_S)
        try:
            yield
        finally:
            lock.release()
    finally:
        lock.close()


def _require_unused(path: Path) -> None:
    """Refuse a database that anybody has open, and move what is in its write-ahead log into it.

    A connection in WAL mode keeps a shared lock for as long as it is open, which an exclusive ``locking_mode`` cannot
    stand beside; ``BEGIN EXCLUSIVE`` alone would only meet writers. A database that is damaged says nothing.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)) as found:
            found.execute("PRAGMA locking_mode = EXCLUSIVE")
            found.execute("BEGIN EXCLUSIVE")
            found.execute("ROLLBACK")
            found.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreUnavailableError(f"{path} is open in a process; close every router on it first") from error


def _put(source: Path, report: BackupReport, path: Path) -> Path | None:
    """Copy and check everything, then change places; where what stood there before is now."""
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=path.parent))
    try:
        for name, mark in report.files.items():
            copy_private(source / name, draft / name)
            if sha256(draft / name) != mark.sha256:
                raise CorruptArtifactError(f"{source}: {name} does not match the manifest")
        _begin_anew(draft / LOG)
        for folder in (inner for inner in draft.rglob("*") if inner.is_dir()):
            sync(folder)
        aside = _set_aside(path)
        if (draft / BESIDE).is_dir():
            (draft / BESIDE).rename(path.with_name(path.name + ".artifacts"))
            sync(path.parent)
        (draft / LOG).rename(path)
        sync(path.parent)
        return aside
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _begin_anew(log: Path) -> None:
    """Nobody reads the restored log yet, and what follows is another history than the one that it was copied from."""
    try:
        with closing(sqlite3.connect(log)) as connection, connection:
            connection.execute("DELETE FROM consumers")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (new_id(),))
    except sqlite3.Error as error:
        raise CorruptArtifactError(f"{LOG} in the backup is no log: {error}") from error
    sync(log)


def _set_aside(path: Path) -> Path | None:
    """Move a store aside, under one name that it can be opened by; None where there is none."""
    there = _parts(path)
    aside = path.with_name(f"{path.name}.before-{datetime.now():%Y%m%dT%H%M%S%f}")
    for part in there:
        part.rename(aside.with_name(aside.name + part.name.removeprefix(path.name)))
    return aside if there else None
