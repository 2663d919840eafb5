"""Rows of a file: JSON lines, a JSON array, or CSV, compressed or not; what cannot be parsed comes as it stands."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.lines import TEXTS
from router_sdk.records import MAX_TEXT_CHARS

SURPLUS = "more cells than columns"
"""Holds what a CSV line has too many: never a column to ignore, because it hints at cells that are out of place."""

_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv")
_ARRAY = re.compile(r"(\s*\[)\s*(?:\{|\]|$)")
"""How a file begins that is one array: a line of JSON lines that is wrong may begin with a bracket, too."""
_PEEK = 256
_CHUNK = 1 << 16
_LONGEST = 4 * MAX_TEXT_CHARS
"""Longest element of an array that is read, in characters."""

Rows = Iterator[tuple[int, Mapping[str, Any] | str]]


def read_rows(path: Path, texts: frozenset[str] = TEXTS, *, ending: str | None = None) -> Rows:
    """The rows of a file with the numbers of their lines; in a JSON array, of its elements, from 1.

    Args:
        path: ``*.jsonl``, ``*.ndjson``, ``*.json`` (lines or an array) or ``*.csv``, each also with ``.gz``.
        texts: Columns of a CSV file that hold texts, whatever they look like. Any other cell is JSON, or a text where
            it is not.
        ending: What the name would end in, where it may end in anything.

    Raises:
        InvalidInputError: if the file cannot be read, or its name has another ending.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    ending = plain.suffix if ending is None else ending
    if ending not in _ENDINGS:
        raise InvalidInputError(f"{path.name}: expected {', '.join(_ENDINGS)}, with or without .gz")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        # One line that is not UTF-8 must not spoil the others: its bytes become half surrogates, which no record takes.
        with opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _of_csv(file, texts) if ending == ".csv" else _of_json(file)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InvalidInputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def rows_and_fault(path: Path, texts: frozenset[str]) -> Iterator[tuple[int, Mapping[str, Any] | str | Exception]]:
    """``read_rows``, where a file that breaks off after some rows ends in the error as its last row."""
    number = 0
    try:
        for number, row in read_rows(path, texts):
            yield number, row
    except InvalidInputError as error:
        if not number:
            raise
        yield number + 1, error


def _of_csv(file: TextIO, texts: frozenset[str]) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), 4 * MAX_TEXT_CHARS))
    reader = csv.DictReader(file, restkey=SURPLUS)
    for row in reader:
        known = {column: cell for column, cell in row.items() if cell not in ("", None)}
        yield reader.line_num, {column: cell if column in texts else _cell(cell) for column, cell in known.items()}


def _cell(value: Any) -> Any:
    """A CSV cell as the value it spells."""
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value, parse_constant=str)  # NaN in a cell says that nothing is known
    except (TypeError, ValueError, RecursionError):
        return value


def _of_json(file: TextIO) -> Rows:
    begin = _ARRAY.match(file.read(_PEEK))
    file.seek(0)
    if begin:
        file.read(begin.end(1))
        yield from _elements(file)
        return
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> Mapping[str, Any] | str:
    try:
        row = from_json(line.encode("utf-8", "surrogateescape"))
    except ValueError:
        return line
    return row if isinstance(row, dict) else line


def _elements(file: TextIO) -> Rows:
    """The elements of an array whose bracket was read, a piece of the file at a time."""
    number, decoder, buffer = 1, json.JSONDecoder(), ""
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        if buffer.startswith("]"):
            return
        try:
            if not buffer.startswith("{"):
                raise ValueError
            element, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError):
            more = file.read(max(_CHUNK, len(buffer)))  # as much again, so that a long element is tried few times
            if not more or len(buffer) > _LONGEST:
                if buffer:
                    yield number, buffer[:_CHUNK]
                return
            buffer += more
            continue
        yield number, element
        number, buffer = number + 1, buffer[end:]
