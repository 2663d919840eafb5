"""Examples in: files of what was done before, each line an observed decision; a bad line is a dead letter."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.exchange.mapping import ColumnMapping
from router_sdk.records import MAX_TEXT_CHARS, Outcome, Task
from router_sdk.store.journal import DeadLetter

Observation = tuple[Task, str | None, Outcome | None]
"""A task, the agent that acted on it (None: nobody fitted), and what came of it."""

Numbered = tuple[int, Observation]
"""An observation with the number of its line."""

MappingLike = ColumnMapping | Mapping[str, Any]
"""What the columns of a foreign file mean, or the fields of such a record."""

_GROUP = 64
_BODY_CHARS = 10_000
_NAMED_ERRORS = 10
_TASK_FIELDS = frozenset(Task.model_fields)
_OUTCOME_FIELDS = frozenset(Outcome.model_fields)
_TEXT_COLUMNS = frozenset(
    [
        "text",
        "task_type",
        "session_id",
        "tenant",
        "agent",
        "label",
        "correct_agent",
        "response",
        "feedback_text",
        "error",
    ]
)
"""In a CSV file these hold texts, whatever they look like; any other cell is JSON, or a text where it is not."""
_IGNORED = frozenset({"decision_id", "at", "reward", "propensity", "source"})
"""Written by ``export_examples``; the log makes its own."""
_SURPLUS = "more cells than columns"
"""Holds what a CSV line has too many: never a column to ignore, because it hints at cells that are out of place."""
_KNOWN = _TASK_FIELDS | _OUTCOME_FIELDS | _IGNORED | {"agent", "label", _SURPLUS}


@dataclass(slots=True)
class ImportReport:
    """What became of a file's lines.

    Attributes:
        imported: Lines that are in the log now.
        rejected: Lines that are dead letters now.
        errors: The first few reasons, with their line numbers.
    """

    imported: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)


def read_rows(path: Path, texts: frozenset[str] = _TEXT_COLUMNS) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Lines of a JSONL or CSV file (``.gz`` too) with their numbers; what cannot be parsed comes as it stands.

    Args:
        path: The file.
        texts: Columns of a CSV file that hold texts, whatever they look like.

    Raises:
        InvalidInputError: if the file cannot be read, or its name has another ending.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix not in (".jsonl", ".csv"):
        raise InvalidInputError(f"{path.name}: expected .jsonl or .csv, with or without .gz")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        # One line that is not UTF-8 must not spoil the others: its bytes become half surrogates, which no record takes.
        with opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            if plain.suffix == ".csv":
                csv.field_size_limit(max(csv.field_size_limit(), 4 * MAX_TEXT_CHARS))
                reader = csv.DictReader(file, restkey=_SURPLUS)
                for row in reader:
                    known = {column: cell for column, cell in row.items() if cell not in ("", None)}
                    values = {column: cell if column in texts else _cell(cell) for column, cell in known.items()}
                    yield reader.line_num, values
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InvalidInputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _parse(line: str) -> Mapping[str, Any] | str:
    try:
        row = from_json(line.encode("utf-8", "surrogateescape"))
    except ValueError:
        return line
    return row if isinstance(row, dict) else line


def _cell(value: Any) -> Any:
    """A CSV cell as the value it spells."""
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value


def split_row(row: Mapping[str, Any] | str, mapping: ColumnMapping | None = None) -> Observation:
    """A row as a task, the agent that acted, and its outcome.

    ``label`` and ``correct_agent`` mean the same; a row that names no agent was answered by its label.

    Args:
        row: What was read.
        mapping: Which columns of a foreign file hold text and label; its other unknown columns are ignored.

    Raises:
        InvalidInputError: if a column is unknown, a value malformed, or nothing says who acted.
    """
    if isinstance(row, str):
        raise InvalidInputError("expected one JSON object on the line")
    row = dict(row) if mapping is None else _known(mapping.apply(row))
    if "label" in row:
        row["correct_agent"] = row.pop("label")
    label = "label" if mapping is None or mapping.label is None else mapping.label
    if not {"agent", "correct_agent"} & row.keys() and row.get("no_agent_fits") is not True:
        raise InvalidInputError(
            f"nothing says who acted: give 'agent', {label!r} or no_agent_fits=true, or map other columns to them"
        )
    agent = row.pop("agent", row.get("correct_agent"))
    if agent is not None and not isinstance(agent, str):
        raise InvalidInputError(f"agent: expected a name, got {agent!r}")
    unknown = sorted(str(key) for key in row.keys() - _TASK_FIELDS - _OUTCOME_FIELDS - _IGNORED)
    if unknown:
        raise InvalidInputError(f"columns {unknown} are unknown; rename or map them, or put them under 'features'")
    task = Task.of({key: value for key, value in row.items() if key in _TASK_FIELDS and value is not None})
    told = {key: value for key, value in row.items() if key in _OUTCOME_FIELDS and value is not None}
    return task, agent, Outcome(**told) if told else None


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a foreign row means something here; an empty cell says nothing, not that nobody fits."""
    return {column: value for column, value in row.items() if column in _KNOWN and value is not None}


def import_examples(
    path: Path,
    check: Callable[[Numbered], object],
    observe: Callable[[Sequence[Numbered]], object],
    mapping: MappingLike | None = None,
) -> tuple[ImportReport, list[DeadLetter]]:
    """Read every line of a file and hand it on as an observed decision with its outcome, 64 at a time.

    Args:
        path: The file.
        check: Raises where an observation cannot be logged.
        observe: Logs a group.
        mapping: Which columns of a foreign file hold text and label: a ``ColumnMapping``, or its fields.

    Returns:
        The report, and a dead letter for each line that was refused.

    Raises:
        InvalidInputError: if the file cannot be read or has not the mapping's columns; a malformed line only becomes
            a dead letter.
    """
    texts = _TEXT_COLUMNS
    if mapping is not None:
        mapping = ColumnMapping.of(mapping)
        texts |= mapping.columns
        _look_for_columns(path, mapping)
    report = ImportReport()
    letters: list[DeadLetter] = []
    group: list[Numbered] = []
    for number, row in _rows_and_fault(path, texts):
        try:
            if isinstance(row, InvalidInputError):
                raise row
            observation = (number, split_row(row, mapping))
            check(observation)
        except RouterError as error:
            letters.append(("import", None, _plain(f"{path.name}:{number}: {error}"), _body(row)))
            if len(report.errors) < _NAMED_ERRORS:
                report.errors.append(f"line {number}: {error}")
            continue
        group.append(observation)
        if len(group) == _GROUP:
            observe(group)
            report.imported += len(group)
            group = []
    if group:
        observe(group)
        report.imported += len(group)
    report.rejected = len(letters)
    return report, letters


def _look_for_columns(path: Path, mapping: ColumnMapping) -> None:
    """Read until every column of the mapping was seen once, which takes one line of most files.

    Raises:
        InvalidInputError: if there are lines, and one of the columns is on none of them.
    """
    seen: dict[str, None] = {}
    for _, row in read_rows(path):
        seen.update(dict.fromkeys(row if isinstance(row, Mapping) else ()))
        if mapping.columns <= seen.keys():
            return
    if seen:
        mapping.check_columns(seen, path.name)


def _rows_and_fault(
    path: Path, texts: frozenset[str]
) -> Iterator[tuple[int, Mapping[str, Any] | str | InvalidInputError]]:
    """``read_rows``, where a file that breaks off after some rows ends in the error as its last row."""
    number = 0
    try:
        for number, row in read_rows(path, texts):
            yield number, row
    except InvalidInputError as error:
        if not number:
            raise
        yield number + 1, error


def _body(row: object) -> str | None:
    if isinstance(row, InvalidInputError):
        return None
    return _plain((row if isinstance(row, str) else json.dumps(row, default=str))[:_BODY_CHARS])


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
