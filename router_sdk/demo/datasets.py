"""A file of tasks with labels or per-agent scores, as a stream that any router can be replayed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from router_sdk.demo.columns import Columns, find_columns
from router_sdk.demo.sidecar import described_agent, read_sidecar
from router_sdk.demo.stream import StreamItem
from router_sdk.demo.table import MAX_BAD_LINES, BadLine, BadLines, Row, read_rows
from router_sdk.errors import InvalidInputError
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.exchange.observations import MappingLike
from router_sdk.records import Agent, Task


def is_train(split: str | None) -> bool:
    """Whether rows of this split are there to learn from; rows without one are."""
    return split is None or split.startswith(("train", "oos_train"))


class DatasetRow(NamedTuple):
    """One usable row.

    Attributes:
        item: The task and every agent's reward on it.
        split: The part of the data that it belongs to, or None.
        detail: A finer label, such as the intent within a domain, or None.
    """

    item: StreamItem
    split: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a file held.

    Attributes:
        name: The file's name without its endings.
        agents: Who can be chosen, in order of first appearance.
        rows: Usable rows; those of a train split before the others, otherwise as they stand in the file.
        columns: What each column was taken for.
        bad_lines: What was left out, and why.
    """

    name: str
    agents: tuple[Agent, ...]
    rows: tuple[DatasetRow, ...]
    columns: Columns
    bad_lines: tuple[BadLine, ...]


def read_dataset(
    path: Path,
    *,
    mapping: MappingLike | None = None,
    split: str | None = None,
    max_bad_lines: int = MAX_BAD_LINES,
) -> Dataset:
    """Read a data set.

    A task's agents are scored by a mapping ``scores``, by several columns of booleans or numbers in [0, 1], or by
    a label column that names the right agent; ``oos`` or an empty label says that no agent fits.

    Args:
        path: A ``.jsonl`` or ``.csv`` file, gzipped or not.
        mapping: Where the text and the label stand, as a ``ColumnMapping`` or its fields, where the usual names do
            not find them: for the label ``agent``, ``label``, ``correct_agent``, ``domain``, ``category`` and
            ``intent``, in this order.
        split: Keep only rows whose ``split`` column says so.
        max_bad_lines: How many malformed lines are set aside before the file is refused.

    Raises:
        InvalidInputError: if the file cannot be read, has not the mapping's columns, holds neither labels nor scores,
            or too many malformed lines.
    """
    bad_lines = BadLines(path, max_bad_lines)
    mapping = None if mapping is None else ColumnMapping.of(mapping)
    rows = list(read_rows(path, bad_lines, texts=frozenset() if mapping is None else mapping.columns))
    labelled = False
    if mapping is not None and rows:
        mapping.check_columns(dict.fromkeys(column for row in rows for column in row.values), path.name)
        rows = list(_mapped(rows, mapping, bad_lines))
        labelled = mapping.label is not None
    if not rows:
        told = f" ({len(bad_lines.found)} malformed: {bad_lines.found[0].reason})" if bad_lines.found else ""
        raise InvalidInputError(f"{path.name}: holds no usable rows{told}")
    columns = find_columns(rows, path.name, labelled=labelled)
    names = _agent_names(rows, columns)
    if not names:
        raise InvalidInputError(f"{path.name}: no row names an agent in column {columns.label!r}")
    usable = [usable for row in rows if (usable := _checked_row(row, columns, names, bad_lines)) is not None]
    if split is not None:
        known = sorted({row.split for row in usable if row.split is not None})
        usable = [row for row in usable if row.split == split]
        if not usable:
            raise InvalidInputError(f"{path.name}: no rows of split {split!r}; has {', '.join(known) or 'no splits'}")
    usable.sort(key=lambda row: not is_train(row.split))
    fields = read_sidecar(path)
    return Dataset(
        name=path.name.split(".")[0],
        agents=tuple(described_agent(name, fields.get(name, {}), path.name) for name in names),
        rows=tuple(usable),
        columns=columns,
        bad_lines=tuple(sorted(bad_lines.found)),
    )


def _mapped(rows: Iterable[Row], mapping: ColumnMapping, bad_lines: BadLines) -> Iterator[Row]:
    for row in rows:
        try:
            yield Row(row.line, mapping.apply(row.values))
        except InvalidInputError as error:
            bad_lines.add(row.line, str(error))


def _agent_names(rows: Sequence[Row], columns: Columns) -> dict[str, None]:
    """Everybody named by a well-formed row, in order of first appearance."""
    names: dict[str, None] = {}
    for row in rows:
        # What is malformed here is refused with its line number when the row is made a task.
        with suppress(InvalidInputError):
            named = columns.row_scores(row) if columns.has_scores else [columns.row_label(row)]
            names.update((name, None) for name in named if name is not None)
    return names


def _checked_row(row: Row, columns: Columns, names: dict[str, None], bad_lines: BadLines) -> DatasetRow | None:
    try:
        return _dataset_row(row, columns, names)
    except InvalidInputError as error:
        bad_lines.add(row.line, str(error))
        return None


def _dataset_row(row: Row, columns: Columns, names: dict[str, None]) -> DatasetRow:
    """Turn one row into a task with rewards.

    Raises:
        InvalidInputError: if its text, label or scores are malformed.
    """
    values = row.values
    text = values.get(columns.text)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"'{columns.text}' must be a text that is not empty, got {text!r:.60}")
    fields: dict[str, Any] = {}
    if (task_type := _word(values, columns.task_type)) is not None:
        fields["task_type"] = task_type
    task = Task(text, **fields)
    best: str | None
    if columns.has_scores:
        rewards = columns.row_scores(row)
        if missing := [name for name in names if name not in rewards]:
            raise InvalidInputError(f"no score for {', '.join(missing[:3])}")
        best = max(rewards, key=rewards.__getitem__)
    elif columns.label not in values:
        raise InvalidInputError(f'has no {columns.label!r}; write null or "oos" where no agent fits')
    else:
        best = columns.row_label(row)
        rewards = {name: float(name == best) for name in names}
    return DatasetRow(StreamItem(task, rewards, best), _word(values, columns.split), _word(values, columns.detail))


def _word(values: dict[str, Any], column: str | None) -> str | None:
    """A cell as a word; None where there is no such column or it is empty."""
    value = None if column is None else values.get(column)
    return None if value is None or value == "" else str(value)
