"""Folders as bytes: packed on one machine, and written as they were on another."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection
from pathlib import Path

from router_sdk.errors import CorruptArtifactError
from router_sdk.private_files import DRAFT, PRIVATE_FILE, PRIVATE_FOLDER, private_folder


def pack_folder(folder: Path, only: Collection[str] | None = None) -> bytes:
    """A folder's files as an uncompressed tar archive; what is being written, and links, are left out.

    Args:
        folder: Which.
        only: Names at its top that go in; None takes all.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            wanted = only is None or inner.parts[0] in only
            if wanted and not path.is_symlink() and not any(part.startswith(DRAFT) for part in inner.parts):
                archive.add(path, inner.as_posix(), recursive=False, filter=_nobodys)
    return content.getvalue()


def unpack_folder(content: bytes, folder: Path, only: Collection[str] | None = None) -> None:
    """Write what ``pack_folder`` packed into a folder, for its owner alone; files that are there are replaced.

    Args:
        content: The archive.
        folder: Where to; it is made.
        only: Names at its top that there may be; None takes any.

    Raises:
        CorruptArtifactError: if it is no such archive, or leads out of the folder.
    """
    private_folder(folder)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                top = Path(member.name).parts[0] if member.name else ""
                if not (member.isfile() or member.isdir()) or (only is not None and top not in only):
                    raise CorruptArtifactError(f"{member.name!r:.80} does not belong to what a fit leaves")
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, IndexError) as error:
        raise CorruptArtifactError(f"what came of a fit cannot be read: {type(error).__name__}: {error}") from error


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what only this machine knows."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = PRIVATE_FOLDER if member.isdir() else PRIVATE_FILE
    return member
