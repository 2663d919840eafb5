"""A file of tasks with labels or per-agent scores, as a stream that any router can be replayed on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from router_sdk.demo.stream import Phase, Stream, StreamItem
from router_sdk.demo.table import MAX_BAD_LINES, BadLine, BadLines, Columns, Row, find_columns, read_rows
from router_sdk.errors import InvalidAgentError, InvalidInputError
from router_sdk.exchange.columns import ColumnMapping
from router_sdk.exchange.observations import MappingLike
from router_sdk.records import Agent, Task

SOURCES = {
    "clinc150": "clinc/oos-eval, CC BY 3.0; Larson et al., EMNLP 2019",
    "banking77": "PolyAI task-specific-datasets, CC BY 4.0; Casanueva et al. 2020",
    "gsm8k_two_models": "lm-sys/RouteLLM evaluations (Mixtral-8x7B and GPT-4), Apache-2.0",
    "mmlu_two_models": "lm-sys/RouteLLM evaluations (Mixtral-8x7B and GPT-4), Apache-2.0",
    "nine_models": "ulab-uiuc/LLMRouter, MIT",
}
"""Attribution by the file's name without its endings."""

TYPICAL_TOKENS = 1_000
"""Tokens in and out that an expected cost per call is worked out for, from prices per million."""

AGENT_FIELDS = frozenset(Agent.model_fields) - {"name"}

BERT: dict[str, object] = {"update": "head", "wait_for_encoder": True}
"""The fit refits the head, which takes seconds; adapters in the encoder would take minutes on a CPU."""
PHASES = 4
LISTED_SKILLS = 40


def read_sidecar(data: Path) -> dict[str, dict[str, Any]]:
    """What stands beside a data file about its agents: name to fields of :class:`Agent`; empty without a file.

    Besides an agent's own fields, ``usd_per_mtok_in`` and ``usd_per_mtok_out`` are understood as prices.

    Raises:
        InvalidInputError: if the file is not a JSON object of objects.
    """
    path = data.with_name(data.name.split(".")[0] + ".agents.json")
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidInputError(f"{path.name}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(fields, dict) for fields in found.values()):
        raise InvalidInputError(
            f'{path.name}: expected an object with an object per agent, such as {{"name": {{"description": …}}}}'
        )
    return {name: _agent_fields(fields) for name, fields in found.items()}


def described_agent(name: str, fields: Mapping[str, Any], source: str) -> Agent:
    """An agent of a data set.

    Raises:
        InvalidAgentError: if its name or a field is malformed; the message names ``source``.
    """
    try:
        return Agent(name, **fields)
    except InvalidAgentError as error:
        raise InvalidAgentError(f"{source}: agent {name!r:.60}: {error}") from None


def _agent_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in fields.items() if key in AGENT_FIELDS}
    other = {key: value for key, value in fields.items() if key not in AGENT_FIELDS}
    prices = [other[key] for key in ("usd_per_mtok_in", "usd_per_mtok_out") if isinstance(other.get(key), (int, float))]
    if prices:
        known.setdefault("cost_usd", sum(prices) / len(prices) * TYPICAL_TOKENS / 1e6)
    if other:
        known["metadata"] = {**known.get("metadata", {}), **other}
    return known


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
    if (session := _word(values, columns.session)) is not None:
        fields["session_id"] = session
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


def dataset_stream(dataset: Dataset, *, warm_start: int = 20, max_tasks: int = 10_000, seed: int = 0) -> Stream:
    """Make a stream of a data set: training rows before the others, each part shuffled.

    Args:
        dataset: What was read.
        warm_start: Labelled texts per agent, drawn from the training rows, that become the agents' ``examples``
            and are left out of the stream; sets with scores have no labels and get none.
        max_tasks: Draw this many tasks at random where there are more.
        seed: The same seed gives the same stream.

    Raises:
        InvalidInputError: if too few rows are left to play.
    """
    rng = np.random.default_rng(seed)
    train = [row for row in dataset.rows if is_train(row.split)]
    held_out = [row for row in dataset.rows if not is_train(row.split)]
    # A split that was asked for by name may be a held-out one alone: then it is all there is to learn from.
    given = {} if dataset.columns.has_scores else _warm_start(train or held_out, warm_start, rng)
    taken = {id(row) for rows in given.values() for row in rows}
    parts = [_shuffled([row for row in part if id(row) not in taken], rng) for part in (train, held_out)]
    left = sum(len(part) for part in parts)
    if left < 2 * PHASES:
        raise InvalidInputError(f"{dataset.name}: only {left} tasks left to play; give more rows or less warm start")
    share = min(1.0, max_tasks / left)
    first, second = ([*part[: round(share * len(part))]] for part in parts)
    phases = _phases(first, second)
    return Stream(
        title=dataset.name,
        agents=tuple(_described(agent, given.get(agent.name, []), train) for agent in dataset.agents),
        phases=tuple(phases),
        strategy={"bert": BERT},
        notes=(*_notes(dataset, given, len(first) + len(second), left), *_unfit(phases)),
    )


def _warm_start(rows: Sequence[DatasetRow], count: int, rng: np.random.Generator) -> dict[str, list[DatasetRow]]:
    by_agent: dict[str, list[DatasetRow]] = defaultdict(list)
    for row in rows:
        if row.item.best is not None:
            by_agent[row.item.best].append(row)
    # Never more than a third of what there is, so that a small file has something left to play.
    return {name: _shuffled(found, rng)[: min(count, len(found) // 3)] for name, found in by_agent.items()}


def _shuffled(rows: Sequence[DatasetRow], rng: np.random.Generator) -> list[DatasetRow]:
    return [rows[i] for i in rng.permutation(len(rows))]


def _described(agent: Agent, given: Sequence[DatasetRow], train: Sequence[DatasetRow]) -> Agent:
    """Give an agent its examples and, where nobody described it, its name and the names of its skills."""
    skills = dict.fromkeys(row.detail for row in train if row.detail and row.item.best == agent.name)
    words = ", ".join([agent.name, *list(skills)[:LISTED_SKILLS]]).replace("_", " ")
    examples = (*agent.examples, *(row.item.task.text for row in given))
    return agent.model_copy(update={"description": agent.description or words, "examples": examples})


def _phases(first: list[DatasetRow], second: list[DatasetRow]) -> list[Phase]:
    """Quarters of the stream; with a held-out part, thirds of the training rows and then that part."""
    stretches = PHASES - 1 if first and second else PHASES
    words = "third of train" if first and second else "quarter"
    learning, held_out = (first, second) if first else (second, [])
    edges = [round(i * len(learning) / stretches) for i in range(stretches + 1)]
    phases = [
        Phase(f"{ordinal} {words}", [row.item for row in learning[start:end]])
        for ordinal, start, end in zip(("1st", "2nd", "3rd", "4th"), edges, edges[1:], strict=False)
    ]
    if held_out:
        names = dict.fromkeys((row.split or "").removeprefix("oos_") for row in held_out)
        phases.append(Phase(" + ".join(sorted(names)), [row.item for row in held_out]))
    return phases


def _notes(dataset: Dataset, given: dict[str, list[DatasetRow]], played: int, left: int) -> list[str]:
    drawn = f"{played:,} of {left:,} tasks, drawn" if played < left else f"{played:,} tasks,"
    what = "scores" if dataset.columns.has_scores else f"column “{dataset.columns.label}”"
    notes = [
        f"{dataset.name}: {drawn} in an order that each seed draws anew; rewards from {what}. "
        "The router sees the reward of the agent it chose alone, and routes each task before it learns from it."
    ]
    if shown := sum(len(rows) for rows in given.values()):
        notes.append(
            f"Warm start: {shown:,} labelled texts, at most {max(len(rows) for rows in given.values())} per agent, "
            "were given as the agents' examples and are not in the stream."
        )
    if source := SOURCES.get(dataset.name):
        notes.append(f"Source: {source}.")
    if dataset.bad_lines:
        shown_lines = ", ".join(f"{bad.line} ({bad.reason:.80})" for bad in dataset.bad_lines[:3])
        notes.append(f"{len(dataset.bad_lines)} malformed lines were left out: {shown_lines}.")
    return notes


def _unfit(phases: Sequence[Phase]) -> list[str]:
    """Say where more tasks fit no agent than elsewhere, because the reward falls there for everybody but the oracle."""
    shares = [sum(item.best is None for item in phase.items) / len(phase.items) for phase in phases]
    if max(shares) - min(shares) < 0.02:
        return []
    listed = ", ".join(f"{share:.0%} in “{phase.name}”" for phase, share in zip(phases, shares, strict=True))
    return [f"Tasks that fit no agent, on which every choice of one earns nothing: {listed}."]
