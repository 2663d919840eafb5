"""JSON that came from elsewhere: what was expected, or an error that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
