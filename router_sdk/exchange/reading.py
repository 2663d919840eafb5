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
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

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
_FIRST_LINES = 20
"""How many of a CSV file's lines tell what parts its cells."""
_SAID = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""A first line by which a spreadsheet says what parts the cells."""
_QUOTED = re.compile(r'(?<![^,;\t\r\n])"[^"]*(?:""[^"]*)*(?:"|\Z)')
_DECIMAL_COMMA = re.compile(r"\s*-?(?:0|[1-9][0-9]*),[0-9]+\s*")
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
        with opener(path, "rb") as content, as_text(content) as file:
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


def as_text(content: Any, *, strict: bool = False) -> TextIO:
    """A file's content as a text: UTF-8, or what a spreadsheet calls Unicode, UTF-16.

    Args:
        content: A binary file that can be peeked into.
        strict: Whether bytes that are no text are a ``UnicodeDecodeError``. Otherwise one line that is not UTF-8 does
            not spoil the others: its bytes become half surrogates, which no record takes.
    """
    if content.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return TextIOWrapper(content, encoding="utf-16", errors="strict" if strict else "replace", newline="")
    return TextIOWrapper(content, encoding="utf-8-sig", errors="strict" if strict else "surrogateescape", newline="")


class CsvTable(NamedTuple):
    """The names of a CSV file's columns, and its rows: the line on which each ends, from 1, and its cells."""

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]


def csv_table(file: TextIO, texts: frozenset[str]) -> CsvTable:
    """A CSV file's header and rows, its cells parted by commas, semicolons or tabs, or as a first line ``sep=;`` says.

    Blank lines are passed over. Where semicolons part the cells, a decimal comma (``0,5``) is given as a point, but in
    the columns ``texts``.

    Raises:
        csv.Error: if it is malformed, by ``rows``, too, as what a damaged file raises: the rows before come first.
    """
    csv.field_size_limit(max(csv.field_size_limit(), 4 * MAX_TEXT_CHARS))
    first, fault = _first_lines(file)
    said = _SAID.fullmatch("".join(first[:1]))
    if said:
        first[0] = "\n"  # so that lines keep their numbers
    delimiter = said[1] if said else _delimiter("".join(first))
    reader = csv.reader(_all_lines(first, fault, file), delimiter=delimiter)
    header = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
    rows = ((reader.line_num, cells) for cells in reader if cells)
    if delimiter == ";":
        numbers = [place for place, column in enumerate(header) if column not in texts]
        rows = ((line, _with_points(cells, numbers)) for line, cells in rows)
    return CsvTable(header, rows)


def _first_lines(file: TextIO) -> tuple[list[str], Exception | None]:
    """The lines that tell what parts the cells, and the error that they end in."""
    first: list[str] = []
    try:
        first.extend(islice(file, _FIRST_LINES))
    except (OSError, EOFError, zlib.error) as error:
        return first, error
    return first, None


def _all_lines(first: list[str], fault: Exception | None, file: TextIO) -> Iterator[str]:
    yield from first
    if fault is not None:
        raise fault
    yield from file


def _delimiter(begin: str) -> str:
    """What parts the cells of the header, and most often as many of each of the first rows."""
    heading, *rows = [line for line in re.split(r"[\r\n]+", _QUOTED.sub('""', begin)) if line.strip(" \t,;")] or [""]

    def fit(delimiter: str) -> tuple[int, int]:
        count = heading.count(delimiter)
        return sum(row.count(delimiter) == count for row in rows), count

    return max((one for one in ",;\t" if one in heading), key=fit, default=",")


def _with_points(cells: list[str], places: list[int]) -> list[str]:
    for place in places:
        if place < len(cells) and _DECIMAL_COMMA.fullmatch(cells[place]):
            cells[place] = cells[place].replace(",", ".")
    return cells


def _of_csv(file: TextIO, texts: frozenset[str]) -> Rows:
    header, rows = csv_table(file, texts)
    for line, cells in rows:
        row: dict[str, Any] = {
            column: cell if column in texts else _cell(cell)
            for column, cell in zip(header, cells, strict=False)
            if cell
        }
        if surplus := cells[len(header) :]:
            row[SURPLUS] = surplus
        yield line, row


def _cell(value: str) -> Any:
    """A CSV cell as the value it spells."""
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value, parse_constant=str)  # NaN in a cell says that nothing is known
    except (ValueError, RecursionError):
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
