"""Files and folders that are their owner's alone, and files that stand whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make a folder, and those above it, that only the owner may enter; one that exists is left as it is."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def write_private(path: Path, content: bytes, *, durably: bool = False) -> None:
    """Write a file that only the owner may read, by a rename: whatever else is linked there before stays as it is.

    Args:
        path: Where; its folder exists.
        content: What.
        durably: Whether it is on the disk before the rename.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        if durably:
            file.flush()
            os.fsync(descriptor)
    part.replace(path)
