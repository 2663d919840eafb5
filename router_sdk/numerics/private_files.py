"""Files and folders that are their owner's alone and stand whole or not at all; and JSON that came from elsewhere.

What was read is what was expected, or an error says so.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
