"""Files and folders that are their owner's alone and stand whole or not at all; and JSON that came from elsewhere.

What was read is what was expected, or an error says so.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router_sdk.errors import InvalidInputError, StoreUnavailableError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
DRAFT = ".draft-"
"""How the name of what is being written begins."""
_SQLITE = b"SQLite format 3\0"
_BESIDE_DATABASE = ("-wal", "-shm", "-journal", "-lock")


@contextmanager
def disk(what: str) -> Iterator[None]:
    """While something is written to disk: what the system says of it is raised as an error of ours.

    Args:
        what: For the message, such as the name of a folder.

    Raises:
        StoreUnavailableError: where it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(f"{what} cannot be written: {error.strerror or error}; try again later") from error


def private_folder(folder: Path) -> Path:
    """Make a folder that its owner alone can enter, with what leads to it; one that is there is left as it is.

    Raises:
        StoreUnavailableError: if it cannot be made.
    """
    if not folder.is_dir():
        private_folder(folder.parent)
        with disk(folder.name):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return folder


def make_private(path: Path) -> None:
    """Let nobody but its owner read a file or enter a folder, if it is ours and there."""
    try:
        found = path.stat()
        if found.st_mode & 0o077 and found.st_uid == getattr(os, "geteuid", lambda: found.st_uid)():
            path.chmod(PRIVATE_FOLDER if stat.S_ISDIR(found.st_mode) else PRIVATE_FILE)
    except OSError:
        return


def write_private(path: Path, content: str | bytes, *, durably: bool = False) -> None:
    """Write a file that its owner alone can read, by a rename: it is there whole or not at all.

    Whatever else is linked where it stands before stays as it is.

    Args:
        path: Where; the folder is made.
        content: What; a text as UTF-8.
        durably: Whether it is on the disk before the rename.

    Raises:
        StoreUnavailableError: if it cannot be written.
    """
    with disk(path.name), _draft(private_folder(path.parent), content, durably=durably) as draft:
        draft.replace(path)


def write_over(path: Path, content: bytes, expected: bytes) -> bool:
    """Write over a file that is there, by a rename, and keep its owner, group, mode and extended attributes.

    Args:
        path: Where; no symbolic link.
        content: What.
        expected: What it holds, as far as the caller knows.

    Returns:
        Whether it did; False where the file holds something else, which is kept.

    Raises:
        OSError: if it cannot be written, or its owner cannot be kept.
    """
    with _draft(path.parent, content, durably=True) as draft:
        found = path.stat()
        if hasattr(os, "chown"):
            os.chown(draft, found.st_uid, found.st_gid)
        shutil.copystat(path, draft)
        os.utime(draft)
        if path.read_bytes() != expected:
            return False
        draft.replace(path)
    return True


@contextmanager
def _draft(folder: Path, content: str | bytes, *, durably: bool) -> Iterator[Path]:
    """A file of its owner's alone that holds it already; at the end it is gone, wherever it was not moved to."""
    descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durably:
                file.flush()
                os.fsync(descriptor)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def may_be_written(path: Path) -> Path:
    """The file that a path leads to, through symbolic links, where something else may take its place.

    A store is never written over, nor what stands beside it, and neither is a device.

    Raises:
        InvalidInputError: if it may not.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise InvalidInputError(f"cannot write {path}: it is no plain file")
        for suffix in ("", *_BESIDE_DATABASE):
            database = path.with_name(path.name.removesuffix(suffix))
            if path.name.endswith(suffix) and database.is_file():
                with database.open("rb") as file:
                    if file.read(len(_SQLITE)) == _SQLITE:
                        raise InvalidInputError(f"cannot write {path}: a database stands there; give another name")
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot write {str(path)!r:.300}: {error}") from error
    return path


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: if it is anything else.
    """
    found = _parse(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds anything else.
    """
    return parse_object(path.read_bytes())


def read_json(path: Path) -> Any:
    """Whatever JSON a file holds.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds anything else.
    """
    return _parse(path.read_bytes())


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
