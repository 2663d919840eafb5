"""Folders that are written whole or not at all, and whose every file is checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from router_sdk.plugin import CorruptArtifactError
from router_sdk.private_files import private_folder

MANIFEST = "manifest.json"
_DRAFT = ".draft-"


class _Entry(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


_ENTRIES = TypeAdapter(dict[str, _Entry])


def sha256(path: Path) -> str:
    """A file's digest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a draft beside the folder, then put the draft in its place with a manifest.

    Whoever is killed meanwhile leaves a draft and no folder. Only the owner may read what is written.

    Args:
        folder: Where it shall stand: missing or empty.
        fill: Writes the files; if it raises, nothing is left behind.
    """
    with _Draft(folder) as draft:
        fill(draft.path)
        files = sorted(path for path in draft.path.rglob("*") if path.is_file())
        draft.note({path.relative_to(draft.path).as_posix(): _entry(path) for path in files})
        draft.put()


def link_sealed(source: Path, target: Path, without: Collection[str] = ()) -> None:
    """Make a second folder of the same files: by hard links, or by copies where the file system has none.

    Sealed files are never written to again, so that sharing them is safe. What the manifest does not name is left out.

    Args:
        source: A sealed folder.
        target: Where the second one shall stand: missing or empty.
        without: Files that are left out as well.

    Raises:
        CorruptArtifactError: if the source is damaged.
    """
    sealed = SealedFolder(source)
    entries = {name: entry for name, entry in sealed.entries.items() if name not in without}
    with _Draft(target) as draft:
        for name in entries:
            private_folder((draft.path / name).parent)
            _link(source / name, draft.path / name)
        draft.note(entries)
        draft.put()


class _Draft:
    """A folder in the making; gone at the end of the block unless it was put in its place.

    Args:
        folder: Its place.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=private_folder(folder.parent)))

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def note(self, entries: dict[str, _Entry]) -> None:
        """Write the manifest."""
        noted = {name: entry.model_dump() for name, entry in entries.items()}
        (self.path / MANIFEST).write_text(json.dumps(noted, indent=1), encoding="utf-8")

    def put(self) -> None:
        """Push all of it to the disk, and then put it in its place."""
        for path in (*self.path.rglob("*"), self.path):
            path.chmod(0o700 if path.is_dir() else 0o600)
            _sync(path)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()  # Windows does not rename onto an empty folder.
        self.path.rename(self._folder)
        _sync(self._folder.parent)


def _entry(path: Path) -> _Entry:
    return _Entry(sha256=sha256(path), bytes=path.stat().st_size)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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

    It may come from anywhere: nothing beside the folder is read, whatever its manifest or its links say.

    Args:
        path: Where it stands.

    Attributes:
        entries: What the manifest says of each file.

    Raises:
        CorruptArtifactError: if the manifest cannot be read, or a file is missing or of another size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.entries = _ENTRIES.validate_json(_within(path, MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise CorruptArtifactError(f"{path.name}: the manifest cannot be read ({error})") from error
        wrong = [name for name, entry in self.entries.items() if self._size(name) != entry.bytes]
        if wrong:
            raise CorruptArtifactError(f"{path.name}: missing, or of the wrong size: {', '.join(sorted(wrong))}")

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def digest(self, name: str) -> str:
        """The digest a file must have."""
        return self.entries[name].sha256

    def read(self, name: str) -> bytes:
        """A file's content, checked.

        Raises:
            CorruptArtifactError: if it is not in the manifest, or is not what was written.
        """
        try:
            content = _within(self.path, name).read_bytes()
        except OSError as error:
            raise CorruptArtifactError(f"{self.path.name}: {name} cannot be read ({error})") from error
        if name not in self or hashlib.sha256(content).hexdigest() != self.digest(name):
            raise CorruptArtifactError(f"{self.path.name}: {name} does not match the manifest")
        return content

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Compare digests without keeping the contents; of every file unless some are named.

        Raises:
            CorruptArtifactError: if one does not match.
        """
        for name in self.entries if names is None else names:
            try:
                matches = name in self and self.digest(name) == sha256(_within(self.path, name))
            except OSError as error:
                raise CorruptArtifactError(f"{self.path.name}: {name} cannot be read ({error})") from error
            if not matches:
                raise CorruptArtifactError(f"{self.path.name}: {name} does not match the manifest")

    def _size(self, name: str) -> int | None:
        try:
            return _within(self.path, name).stat().st_size
        except OSError:
            return None


def _within(folder: Path, name: str) -> Path:
    """The file of that name.

    Raises:
        OSError: if that is no plain file of the folder's own.
    """
    plain = PurePosixPath(name)
    try:
        root, found = folder.resolve(), (folder / name).resolve()
        # Links at any depth lead elsewhere, and on Windows so do drives and backslashes.
        own = plain.as_posix() == name and ".." not in plain.parts and root in found.parents and found == root / name
        if own and found.is_file():
            return found
    except (RuntimeError, ValueError):  # A loop of links, or a name that no file can have.
        pass
    raise OSError(f"{name!r} is no file of this folder")
