"""Rows of a file, JSON lines, a JSON array, CSV, compressed or not, or Parquet, and the values in them.

What cannot be parsed comes as it stands. Truth, numbers and times are read as foreign files spell them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.lines import TEXTS
from router_sdk.exchange.parquet import ENDING, is_parquet, read_parquet
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
        path: ``*.jsonl``, ``*.ndjson``, ``*.json`` (lines or an array) or ``*.csv``, each also with ``.gz``;
            ``*.parquet``, or a folder of such files.
        texts: Columns of a CSV file that hold texts, whatever they look like. Any other cell is JSON, or a text where
            it is not.
        ending: What the name would end in, where it may end in anything.

    Raises:
        InvalidInputError: if the file cannot be read, or its name has another ending.
    """
    if ending is None and is_parquet(path):
        yield from read_parquet(path)
        return
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    ending = plain.suffix if ending is None else ending
    if ending not in _ENDINGS:
        raise InvalidInputError(f"{path.name}: expected {', '.join(_ENDINGS)}, with or without .gz, or {ENDING}")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as content, _as_text(content) as file:
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


def _as_text(content: Any) -> TextIO:
    """A file's content as a text: UTF-8, or what a spreadsheet calls Unicode."""
    if content.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return TextIOWrapper(content, encoding="utf-16", errors="replace", newline="")
    # One line that is not UTF-8 must not spoil the others: its bytes become half surrogates, which no record takes.
    return TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _of_csv(file: TextIO, texts: frozenset[str]) -> Rows:
    csv.field_size_limit(max(csv.field_size_limit(), 4 * MAX_TEXT_CHARS))
    heading = file.readline()
    # Spreadsheets part cells by a semicolon where a comma is what others write as a point, or by a tab.
    delimiter = max(",;\t", key=heading.count)
    reader = csv.DictReader(chain([heading], file), restkey=SURPLUS, delimiter=delimiter)
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


# -- values

_TRUE = frozenset({"true", "yes", "y", "t", "1", "1.0"})
_FALSE = frozenset({"false", "no", "n", "f", "0", "0.0"})
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "-"})
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_MILLISECONDS = 1e11
"""Times from here on are in milliseconds: as seconds they would lie beyond the year 5000."""
_AHEAD_S = 86_400.0
_LARGEST = 1e300


def is_missing(value: object) -> bool:
    """Whether nothing is known: no value, an empty cell, or one that says so. Unknown is never 0."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING)


def truth(value: object, column: str) -> bool | None:
    """``1``, ``0``, ``1.0``, ``TRUE``, ``yes``, ``no`` and the like as what they say.

    Raises:
        InvalidInputError: if it is neither; a degree belongs to ``quality``.
    """
    if isinstance(value, bool) or is_missing(value):
        return value if isinstance(value, bool) else None
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    hint = ""
    if isinstance(value, (int, float)) or _NUMBER.fullmatch(word):
        hint = "; a degree of success, in [0, 1], is given as quality"
    raise InvalidInputError(f"{column}: expected true or false (1, 0, yes, no), got {value!r:.60}{hint}")


def number(value: object, column: str) -> float | None:
    """A number, or a text that spells one.

    Raises:
        InvalidInputError: if it is none, or not finite.
    """
    if is_missing(value):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{column}: expected a number, got {value!r:.60}")
    if not abs(value) <= _LARGEST:
        raise InvalidInputError(f"{column}: expected a finite number, got {value!r:.60}")
    return float(value)


def whole(value: object, column: str) -> int | None:
    """A whole number, also where it is spelled with a point.

    Raises:
        InvalidInputError: if it is none.
    """
    found = number(value, column)
    if found is None:
        return None
    if not found.is_integer():
        raise InvalidInputError(f"{column}: expected a whole number, got {value!r:.60}")
    return int(found)


def rescaled(value: object, column: str, span: tuple[float, float] | None) -> float | None:
    """A score on [0, 1].

    Args:
        value: On the scale ``span``, or without one in [0, 1].
        column: For the error.
        span: The lowest and the highest score that there is.

    Raises:
        InvalidInputError: if it is no number, or outside.
    """
    found = number(value, column)
    low, high = span or (0.0, 1.0)
    if found is None:
        return None
    if not low <= found <= high:
        how = "" if span else "; say on what range it is: --score-range LOW HIGH, or score_range=(LOW, HIGH)"
        raise InvalidInputError(f"{column}: expected a score in [{low:g}, {high:g}], got {value!r:.60}{how}")
    return (found - low) / (high - low)


def opinion(value: object, column: str) -> float | None:
    """What a user said, from -1 to 1.

    Raises:
        InvalidInputError: if it is no number, or outside.
    """
    found = number(value, column)
    if found is not None and not -1 <= found <= 1:
        hint = "stars or points are a quality, with --score-range LOW HIGH"
        raise InvalidInputError(f"{column}: expected a number in [-1, 1], got {value!r:.60}; {hint}")
    return found


def moment(value: object, column: str) -> float | None:
    """A time in seconds since the epoch: given so, in milliseconds, or as ISO 8601 (local time without a zone).

    Raises:
        InvalidInputError: if it is none of these, or still to come.
    """
    if is_missing(value):
        return None
    try:
        at = number(value, column)
    except InvalidInputError:
        at = None
    if at is None:
        try:
            at = datetime.fromisoformat(str(value).strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            raise InvalidInputError(
                f"{column}: expected seconds since the epoch or a time such as 2026-01-31T12:00+01:00, "
                f"got {value!r:.60}"
            ) from None
    elif at >= _MILLISECONDS:
        at /= 1_000
    if not 0 <= at <= time.time() + _AHEAD_S:
        raise InvalidInputError(f"{column}: expected a time since 1970 that is over, got {value!r:.60}")
    return at
