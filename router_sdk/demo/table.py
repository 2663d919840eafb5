"""A table of tasks: rows of a JSONL or CSV file with a bounded tolerance for bad lines, and what its columns mean."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.reading import as_text, csv_table

MAX_BAD_LINES = 20

TEXT_COLUMNS = ("text", "prompt", "query", "question", "utterance", "task", "input")
LABEL_COLUMNS = ("agent", "label", "correct_agent", "domain", "category", "intent")
MAPPED_LABEL = "label"
"""Where a ``ColumnMapping`` puts the label."""
OUTRIGHT_LABELS = LABEL_COLUMNS[:3]
"""Names that mean a label even beside numeric columns, which are then features and not scores."""
TASK_TYPE_COLUMNS = ("task_type", "subject")
SPLIT_COLUMN = "split"
SESSION_COLUMN = "session_id"
SCORES_COLUMN = "scores"
NO_AGENT = frozenset({"", "oos", "none", "null"})
"""Labels that say that no agent fits, beside a missing one."""


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
        with opener(path, "rb") as content, as_text(content, strict=True) as file:
            yield from _csv_rows(file, bad_lines, texts) if kind[0] == ".csv" else _json_rows(file, bad_lines)
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path.name}: cannot be read to its end ({error}); is it damaged?") from error


def _json_rows(file: TextIO, bad_lines: BadLines) -> Iterator[Row]:
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


def _csv_rows(file: TextIO, bad_lines: BadLines, texts: frozenset[str]) -> Iterator[Row]:
    header, rows = csv_table(file, texts)
    for line, cells in rows:
        if len(cells) == len(header):
            named = zip(header, cells, strict=True)
            yield Row(line, {name: cell if name in texts else _value(cell) for name, cell in named})
        else:
            bad_lines.add(line, f"expected {len(header)} cells, got {len(cells)}")


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


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what.

    Attributes:
        text: What is asked for.
        label: Who is right, or None.
        detail: A finer label than ``label``, such as the intent within a domain, or None.
        scores: Columns with one agent's score each; empty where ``scores`` is one mapping or labels are given.
        score_mapping: Whether a column ``scores`` maps agents to scores.
        task_type: The coarse kind of a task, or None.
        split: Which part of the data a row belongs to, or None.
        session: Which session a task belongs to, or None.
    """

    text: str
    label: str | None
    detail: str | None
    scores: tuple[str, ...]
    score_mapping: bool
    task_type: str | None
    split: str | None
    session: str | None

    @property
    def has_scores(self) -> bool:
        """Whether every agent's outcome is known by a score, instead of by a label."""
        return self.score_mapping or bool(self.scores)

    def row_scores(self, row: Row) -> dict[str, float]:
        """Each agent's score in this row.

        Raises:
            InvalidInputError: if one is not a number in [0, 1].
        """
        values = row.values
        given = values.get(SCORES_COLUMN) if self.score_mapping else {name: values.get(name) for name in self.scores}
        if not isinstance(given, dict) or not given:
            raise InvalidInputError(f"'{SCORES_COLUMN}' must map agents to scores, got {given!r:.60}")
        for agent, score in given.items():
            if not isinstance(score, (bool, int, float)) or not 0.0 <= score <= 1.0:
                raise InvalidInputError(f"score of {agent!r} must be true, false or in [0, 1], got {score!r:.60}")
        return {str(agent): float(score) for agent, score in given.items()}

    def row_label(self, row: Row) -> str | None:
        """The right agent in this row; None where none fits.

        Raises:
            InvalidInputError: if it is neither a word nor a number.
        """
        label = row.values.get(self.label or "")
        if isinstance(label, (dict, list)):
            raise InvalidInputError(f"{self.label!r} must be a word, got {label!r:.60}")
        if label is None or str(label).strip().lower() in NO_AGENT:
            return None
        # A CSV has no integers: class 3 reads as 3.0.
        return f"{label:g}" if isinstance(label, float) else str(label).strip()


def find_columns(rows: Sequence[Row], file: str, *, labelled: bool = False) -> Columns:
    """Tell the columns apart by name and by what they hold.

    Args:
        rows: All rows of the file.
        file: Its name, for messages.
        labelled: Whether the column ``label`` was mapped, and so is the label whatever else there is.

    Raises:
        InvalidInputError: if there is no text, or neither labels nor scores.
    """
    counts = Counter(name for row in rows for name in row.values)
    names = list(counts)
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    text = next((name for name in TEXT_COLUMNS if name in counts), None)
    if text is None:
        usual = ", ".join(TEXT_COLUMNS)
        raise InvalidInputError(f"{file}: needs a text to route, in a column {usual}, or in those you map; has {shown}")
    label = MAPPED_LABEL if labelled else None
    mapping = label is None and SCORES_COLUMN in counts
    labels = [name for name in LABEL_COLUMNS if name in counts and name != text]
    outright = labelled or mapping or any(name in OUTRIGHT_LABELS for name in labels)
    scores = () if outright else _score_columns(rows, [name for name in names if name != text])
    if label is None and not mapping and not scores:
        label = next(iter(labels), None)
        if label is None:
            raise InvalidInputError(
                f"{file}: has neither labels (a column named {', '.join(LABEL_COLUMNS)}, or the one you map) "
                f"nor scores (a mapping '{SCORES_COLUMN}', or a column of true/false or [0, 1] per agent); has {shown}"
            )
    finer = [name for name in labels if label in LABEL_COLUMNS and labels.index(name) > labels.index(str(label))]
    return Columns(
        text=text,
        label=None if mapping or scores else label,
        detail=finer[-1] if finer and not mapping and not scores else None,
        scores=scores,
        score_mapping=mapping,
        task_type=next((name for name in TASK_TYPE_COLUMNS if name in counts and name != label), None),
        split=SPLIT_COLUMN if SPLIT_COLUMN in counts else None,
        session=SESSION_COLUMN if SESSION_COLUMN in counts else None,
    )


def _score_columns(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold one agent's score each: two or more, numeric in nearly all rows, and within [0, 1].

    A stray bad cell must not hide the column, so 5 % of the rows may disagree; they are refused one by one later.
    """
    found = []
    for name in names:
        if name in (*LABEL_COLUMNS, *TASK_TYPE_COLUMNS, SPLIT_COLUMN, SESSION_COLUMN):
            continue
        values = [row.values.get(name) for row in rows]
        fitting = sum(isinstance(v, (bool, int, float)) and math.isfinite(v) and 0.0 <= v <= 1.0 for v in values)
        if fitting >= 0.95 * len(values):
            found.append(name)
    return tuple(found) if len(found) >= 2 else ()
