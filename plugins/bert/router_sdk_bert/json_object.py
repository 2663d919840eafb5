"""JSON that came from elsewhere: an object, or an error that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: if it is anything else.
    """
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
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
