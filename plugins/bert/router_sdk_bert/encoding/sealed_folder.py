"""Folders that are written whole or not at all, and whose every file is checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from router_sdk.plugin import CorruptArtifactError

MANIFEST = "manifest.json"
_DRAFT = ".draft-"


def sha256(path: Path) -> str:
    """A file's digest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a draft beside the folder, then put the draft in its place with a manifest.

    Whoever is killed meanwhile leaves a draft and no folder.

    Args:
        folder: Where it shall stand: missing or empty.
        fill: Writes the files; if it raises, nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder.parent))
    try:
        fill(draft)
        files = sorted(path for path in draft.rglob("*") if path.is_file())
        entries = {
            path.relative_to(draft).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files
        }
        (draft / MANIFEST).write_text(json.dumps(entries, indent=1), encoding="utf-8")
        for path in (*files, draft / MANIFEST, draft):
            _sync(path)
        _put(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def link_sealed(source: Path, target: Path) -> None:
    """Make a second folder of the same files: by hard links, or by copies where the file system has none.

    Sealed files are never written to again, so that sharing them is safe.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=target.parent))
    try:
        shutil.copytree(source, draft, copy_function=_link, dirs_exist_ok=True)
        _put(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _put(draft: Path, folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()  # Windows does not rename onto an empty folder.
    draft.chmod(0o755)
    draft.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Push a file, or a folder's entries, to the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SealedFolder:
    """A folder with a manifest. Sizes of all files are compared at once, the digest of each when it is read.

    Args:
        path: Where it stands.

    Raises:
        CorruptArtifactError: if the manifest cannot be read, or a file is missing or of another size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            entries = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            self._digests: dict[str, str] = {name: str(entry["sha256"]) for name, entry in entries.items()}
            sizes = {name: int(entry["bytes"]) for name, entry in entries.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path.name}: the manifest cannot be read ({error})") from error
        wrong = [name for name, size in sizes.items() if _size(path / name) != size]
        if wrong:
            raise CorruptArtifactError(f"{path.name}: missing, or of the wrong size: {', '.join(sorted(wrong))}")

    def __contains__(self, name: str) -> bool:
        return name in self._digests

    def digest(self, name: str) -> str:
        """The digest a file must have."""
        return self._digests[name]

    def read(self, name: str) -> bytes:
        """A file's content, checked.

        Raises:
            CorruptArtifactError: if it is not in the manifest, or is not what was written.
        """
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise CorruptArtifactError(f"{self.path.name}: {name} cannot be read ({error})") from error
        if hashlib.sha256(content).hexdigest() != self._digests.get(name):
            raise CorruptArtifactError(f"{self.path.name}: {name} does not match the manifest")
        return content

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Compare digests without keeping the contents; of every file unless some are named.

        Raises:
            CorruptArtifactError: if one does not match.
        """
        for name in self._digests if names is None else names:
            if self._digests.get(name) != sha256(self.path / name):
                raise CorruptArtifactError(f"{self.path.name}: {name} does not match the manifest")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
