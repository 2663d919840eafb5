"""Examples in: files of what was done before, each line an observed decision; a bad line is a dead letter."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.records import Outcome, Task

Observation = tuple[Task, str | None, Outcome | None]
"""A task, the agent that acted on it (None: nobody fitted), and what came of it."""

DeadLetter = tuple[str, str | None, str, str | None]
"""(kind, decision_id, reason, body)"""

_GROUP = 64
_BODY_CHARS = 10_000
_NAMED_ERRORS = 10
_TASK_FIELDS = frozenset(Task.model_fields)
_OUTCOME_FIELDS = frozenset(Outcome.model_fields)
_IGNORED = frozenset({"decision_id", "at", "reward", "propensity", "source"})
"""Written by ``export_examples``; the log makes its own."""


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


def read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Lines of a JSONL or CSV file (``.gz`` too) with their numbers; what cannot be parsed comes as it stands.

    Raises:
        InvalidInputError: if the file cannot be read, or its name has another ending.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix not in (".jsonl", ".csv"):
        raise InvalidInputError(f"{path.name}: expected .jsonl or .csv, with or without .gz")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            if plain.suffix == ".csv":
                reader = csv.DictReader(file, restkey="")
                for row in reader:
                    yield reader.line_num, {key: _cell(value) for key, value in row.items() if value not in ("", None)}
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error


def _parse(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line)
    except ValueError:
        return line
    return row if isinstance(row, dict) else line


def _cell(value: Any) -> Any:
    """A CSV cell as the value it spells; a text stays a text."""
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def split_row(row: Mapping[str, Any] | str) -> Observation:
    """A row as a task, the agent that acted, and its outcome.

    ``label`` and ``correct_agent`` mean the same; a row that names no agent was answered by its label.

    Raises:
        InvalidInputError: if a column is unknown or a value malformed.
    """
    if isinstance(row, str):
        raise InvalidInputError("expected one JSON object on the line")
    row = dict(row)
    if "label" in row:
        row["correct_agent"] = row.pop("label")
    agent = row.pop("agent", row.get("correct_agent"))
    if agent is not None and not isinstance(agent, str):
        raise InvalidInputError(f"agent: expected a name, got {agent!r}")
    unknown = sorted(str(key) for key in row.keys() - _TASK_FIELDS - _OUTCOME_FIELDS - _IGNORED)
    if unknown:
        raise InvalidInputError(f"columns {unknown} are unknown; rename them, or put them under 'features'")
    task = Task.of({key: str(value) if key == "text" else value for key, value in row.items() if key in _TASK_FIELDS})
    told = {key: value for key, value in row.items() if key in _OUTCOME_FIELDS and value is not None}
    return task, agent, Outcome(**told) if told else None


def import_examples(
    path: Path, check: Callable[[Observation], None], observe: Callable[[Sequence[Observation]], object]
) -> tuple[ImportReport, list[DeadLetter]]:
    """Read every line of a file and hand it on as an observed decision with its outcome, 64 at a time.

    Args:
        path: The file.
        check: Raises where an observation cannot be logged.
        observe: Logs a group.

    Returns:
        The report, and a dead letter for each line that was refused.

    Raises:
        InvalidInputError: if the file cannot be read; a malformed line only becomes a dead letter.
    """
    report = ImportReport()
    letters: list[DeadLetter] = []
    group: list[Observation] = []
    for number, row in read_rows(path):
        try:
            observation = split_row(row)
            check(observation)
        except RouterError as error:
            letters.append(("import", None, f"{path.name}:{number}: {error}", _body(row)))
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


def _body(row: object) -> str:
    return (row if isinstance(row, str) else json.dumps(row, default=str))[:_BODY_CHARS]
