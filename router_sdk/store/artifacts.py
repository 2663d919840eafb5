"""Folders beside the database: written whole or not at all, and checked before they are read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from router_sdk.errors import CorruptArtifactError

MANIFEST = "manifest.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Push a file, or a folder's entries, to the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_artifact(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a temporary folder, then put it in place with a manifest of checksums.

    Args:
        folder: Where it shall stand; must not exist.
        fill: Writes the files; if it raises, nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        fill(draft)
        files = sorted(path for path in draft.rglob("*") if path.is_file())
        checksums = {path.relative_to(draft).as_posix(): _sha256(path) for path in files}
        (draft / MANIFEST).write_text(json.dumps({"sha256": checksums}, indent=1))
        for path in [*files, draft / MANIFEST, draft]:
            _sync(path)
        draft.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def check_artifact(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        CorruptArtifactError: if a file is missing, added or changed.
    """
    try:
        expected: dict[str, str] = json.loads((folder / MANIFEST).read_text())["sha256"]
        found = {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in folder.rglob("*")
            if path.is_file() and path != folder / MANIFEST
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{folder.name}: the manifest cannot be read ({error})") from error
    if found != expected:
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise CorruptArtifactError(f"{folder.name}: {', '.join(wrong)} do not match the manifest")
