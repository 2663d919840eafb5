"""Texts from the command line as the values that they spell."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from router_sdk.errors import InvalidInputError

STDIN = "-"
"""Stands for standard input wherever a text or a file is asked for."""


def typed_pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """``["mape=12.5", "region=EU"]`` as a mapping: numbers, true and false are read as such, all else is text.

    Quotes make a text of anything: ``zip='"12345"'``.

    Raises:
        InvalidInputError: if one has no ``=``, or a name stands twice.
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise InvalidInputError(f"{option} {pair!r}: expected name=value")
        if name in found:
            raise InvalidInputError(f"{option} {name!r} is given twice")
        found[name] = _typed(value)
    return found


def readable(source: str) -> str:
    """A file that can be read, or ``-``; asked before there is a store.

    Raises:
        InvalidInputError: if there is no such file.
    """
    if source != STDIN and not Path(source).is_file():
        raise InvalidInputError(f"cannot read {source}: no such file")
    return source


def text_or_stdin(value: str) -> str:
    """The text itself, or what stands on standard input where it is ``-``."""
    return sys.stdin.read().strip() if value == STDIN else value


def _typed(value: str) -> Any:
    try:
        spelled = json.loads(value, parse_constant=str)
    except ValueError:
        return value
    return spelled if isinstance(spelled, (bool, int, float, str)) else value
