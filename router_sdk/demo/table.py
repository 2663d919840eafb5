"""Rows from a JSONL or CSV file, gzipped or not, with line numbers and a bounded tolerance for bad lines."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import Any, NamedTuple, cast

from router_sdk.errors import InvalidInputError

MAX_BAD_LINES = 20


class Row(NamedTuple):
    """One row and the line it ended on, counted from 1."""

    line: int
    values: dict[str, Any]


class BadLine(NamedTuple):
    """A line that was left out, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class BadLines:
    """Collects what was left out, until it is too much.

    Args:
        path: The file, for the message.
        limit: How many are tolerated; one more raises.
    """

    path: Path
    limit: int = MAX_BAD_LINES
    found: list[BadLine] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Note one more.

        Raises:
            InvalidInputError: if that is more than ``limit``.
        """
        self.found.append(BadLine(line, reason))
        if len(self.found) > self.limit:
            shown = "; ".join(f"line {bad.line}: {bad.reason}" for bad in self.found[:3])
            more = f" and {len(self.found) - 3} more" if len(self.found) > 3 else ""
            raise InvalidInputError(
                f"{self.path.name}: {shown}{more}; correct the file, or tolerate more than {self.limit} bad lines"
            )


def read_rows(path: Path, bad_lines: BadLines, texts: frozenset[str] = frozenset()) -> Iterator[Row]:
    """Read a file's rows, setting malformed lines aside.

    Args:
        path: ``*.jsonl``, ``*.ndjson`` or ``*.csv``, each also with ``.gz``.
        bad_lines: Where malformed lines go.
        texts: Columns of a CSV file that hold texts, whatever they look like.

    Raises:
        InvalidInputError: if the file is missing, of another kind or damaged, or too many lines are malformed.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not kind or kind[0] not in (".jsonl", ".ndjson", ".csv"):
        raise InvalidInputError(f"{path.name}: expected a .jsonl, .ndjson or .csv file, gzipped (.gz) or not")
    try:
        opener = gzip.open if zipped else open
        with cast("TextIOBase", opener(path, "rt", encoding="utf-8-sig", newline="")) as file:
            yield from _csv_rows(file, bad_lines, texts) if kind[0] == ".csv" else _json_rows(file, bad_lines)
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path.name}: cannot be read to its end ({error}); is it damaged?") from error


def _json_rows(file: TextIOBase, bad_lines: BadLines) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            bad_lines.add(number, f"not JSON: {error}")
            continue
        if isinstance(values, dict):
            yield Row(number, values)
        else:
            bad_lines.add(number, f"expected a JSON object, got {type(values).__name__}")


def _csv_rows(file: TextIOBase, bad_lines: BadLines, texts: frozenset[str]) -> Iterator[Row]:
    reader = csv.reader(file)
    header = next(reader, [])
    for cells in reader:
        if len(cells) == len(header):
            named = zip(header, cells, strict=True)
            yield Row(reader.line_num, {name: cell if name in texts else _value(cell) for name, cell in named})
        elif cells:
            bad_lines.add(reader.line_num, f"expected {len(header)} cells, got {len(cells)}")


def _value(cell: str) -> object:
    """A CSV cell as what it looks like: empty is None, then booleans, numbers, JSON objects, text."""
    plain = cell.strip()
    if plain.lower() in {"true", "false"}:
        return plain.lower() == "true"
    if plain.startswith("{"):
        try:
            return json.loads(plain)
        except ValueError:
            return cell
    try:
        return float(plain)
    except ValueError:
        return cell if plain else None
