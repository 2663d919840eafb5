"""Folders beside the database: written whole or not at all, checked before they are read, and shared without copies.

Names of folders come from tables, and tables from files that anybody may have written: a name that could lead elsewhere
leads nowhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from router_sdk.errors import FAULTS, CorruptArtifactError, StoreUnavailableError, let_end
from router_sdk.private_files import DRAFT, disk, private_folder

MANIFEST = "manifest.json"
DAMAGED = "damaged"
"""Folder of what was set aside."""

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+@-]{0,200}")
_LARGE_BYTES = 1 << 20
_MANIFEST_BYTES = 1 << 24
_DAMAGED_KEPT = 10
_ABANDONED_S = 3_600.0

_log = logging.getLogger(__name__)


def plain_name(name: object) -> str:
    """A name that can stand for a file or folder, and for nothing outside the folder it is looked for in.

    Raises:
        CorruptArtifactError: if it is none.
    """
    if isinstance(name, str) and _PLAIN.fullmatch(name) and not name.endswith("."):
        return name
    raise CorruptArtifactError(f"{name!r:.80} is no name of a folder beside the store")


def entry(folder: Path, name: object) -> Path:
    """The entry of that name in a folder.

    Raises:
        CorruptArtifactError: if the name could lead elsewhere, or a symbolic link of that name does.
    """
    found = folder / plain_name(name)
    if found.is_symlink():
        raise CorruptArtifactError(f"{found.name} is a symbolic link; nothing beside the store is one")
    return found


class _Digests:
    """SHA-256 of files; of large ones, which are written once and then shared by many folders, it is remembered."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def __call__(self, path: Path) -> str:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            found = self._known.get(key)
            if found is None:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if state.st_size >= _LARGE_BYTES:
                    self._known[key] = found
            return found


sha256 = _Digests()


def sync(path: Path) -> None:
    """Push a file, or a folder's entries, to the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, in order.

    Raises:
        CorruptArtifactError: if there is a symbolic link among them.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise CorruptArtifactError(f"{folder.name}: {path.name} is a symbolic link")
        if path.is_file():
            found.append(path)
    return found


def archives(folder: Path) -> list[Path]:
    """The archive files beside a store."""
    return sorted((folder / "archive").glob("*.jsonl.gz"))


def write_artifact(folder: Path, fill: Callable[[Path], None], *, durably: bool = True) -> None:
    """Let ``fill`` write into a temporary folder, then put it in place with a manifest of checksums.

    Args:
        folder: Where it shall stand; must not exist.
        fill: Writes the files; if it raises, nothing is left behind.
        durably: Whether it is on the disk before it is in place.

    Raises:
        StoreUnavailableError: if it cannot be written.
    """
    push = sync if durably else _leave
    with disk(folder.name):
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=private_folder(folder.parent)))
        try:
            fill(draft)
            _seal(draft, push)
            draft.rename(folder)
            push(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _leave(path: Path) -> None:
    """Let the system write it when it likes."""


def _seal(draft: Path, push: Callable[[Path], None]) -> None:
    """Write the manifest, and push everything to the disk, for its owner's eyes alone."""
    files = files_in(draft)
    checksums = {path.relative_to(draft).as_posix(): sha256(path) for path in files}
    (draft / MANIFEST).write_text(json.dumps({"sha256": checksums}, indent=1))
    for path in (*files, draft / MANIFEST):
        path.chmod(0o600)
        push(path)
    for path in (*(inner for inner in draft.rglob("*") if inner.is_dir()), draft):
        path.chmod(0o700)
        push(path)


def check_artifact(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        CorruptArtifactError: if a file is missing, added or changed, or the manifest is none.
    """
    try:
        manifest = folder / MANIFEST
        if not manifest.is_file() or manifest.stat().st_size > _MANIFEST_BYTES:
            raise TypeError("there is none of a size to be read")
        expected = json.loads(manifest.read_text())["sha256"]
        if not isinstance(expected, dict):
            raise TypeError("it names no files")
        found = {path.relative_to(folder).as_posix(): sha256(path) for path in files_in(folder)}
        del found[MANIFEST]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptArtifactError(f"{folder.name}: the manifest cannot be read ({error})") from error
    if found != expected:
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise CorruptArtifactError(f"{folder.name}: {', '.join(wrong)[:300]} do not match the manifest")


def read_state(folder: Path, load: Callable[[Path], None]) -> None:
    """Let ``load`` read what a folder holds, whose files are as they were written.

    Raises:
        CorruptArtifactError: if it cannot, whatever it raises.
    """
    try:
        load(folder)
    except CorruptArtifactError:
        raise
    except FAULTS as error:
        let_end(error)
        raise CorruptArtifactError(f"{folder.name}: cannot be loaded: {type(error).__name__}: {error}") from error


def set_aside(folder: Path, root: Path) -> None:
    """Move a damaged folder out of the way, where a person can look at it; the newest ten are kept."""
    if not folder.exists():
        return
    aside = root / DAMAGED
    target = aside / f"{folder.parent.name}-{folder.name}-{time.time_ns()}"
    try:
        private_folder(aside)
        folder.rename(target)
    except (OSError, StoreUnavailableError) as error:
        _log.warning("%s is damaged and cannot be set aside: %s", folder.name, error)
        return
    _log.error("%s is damaged, and was set aside as %s", folder.name, target)
    for old in sorted(aside.iterdir(), key=_set_aside_at)[:-_DAMAGED_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _set_aside_at(path: Path) -> int:
    told = path.name.rpartition("-")[2]
    return int(told) if told.isdecimal() else 0


def remove(folder: Path, name: object) -> None:
    """Delete the entry of that name from a folder; where the name could lead elsewhere, nothing."""
    try:
        shutil.rmtree(entry(folder, name), ignore_errors=True)
    except CorruptArtifactError as error:
        _log.warning("nothing is deleted: %s", error)


def clear(folder: Path) -> None:
    """Delete what stands in a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        _delete(path)


def _delete(path: Path) -> None:
    """Delete a folder with what it holds, or a file or a link; another process may be faster."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def strangers(folder: Path, known: Collection[str]) -> list[str]:
    """Names in a folder that no table knows."""
    return sorted(path.name for path in folder.iterdir() if path.name not in known) if folder.is_dir() else []


def remove_strangers(folder: Path, known: Collection[str], older_than_s: float = _ABANDONED_S) -> list[str]:
    """Delete what a killed process left in a folder: drafts, and folders that no table knows.

    What is younger is left: another process may be about to say whose it is.

    Args:
        folder: Of snapshots, or of versions.
        known: Names of those that tables know.
        older_than_s: Age in seconds.

    Returns:
        The names of what was deleted.
    """
    gone = []
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    for path in entries:
        try:
            old = time.time() - path.lstat().st_mtime > older_than_s
        except OSError:
            continue
        if old and path.name not in known:
            _delete(path)
            gone.append(path.name)
    return gone
