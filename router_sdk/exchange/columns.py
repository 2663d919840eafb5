"""What the columns of a foreign file mean: one mapping for every reader of labelled files; and category trees."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from router_sdk.errors import InvalidAgentError, InvalidInputError
from router_sdk.exchange.reading import number, rescaled
from router_sdk.records import Agent, Record
from router_sdk.records.fields import Name

_LEVEL = re.compile(r"(.+):(first|last|-?\d+)", re.DOTALL)
_SHOWN = 40
_LEVELS = {"first": 0, "last": -1}
_SEVERAL = ("text", "features", "metrics", "metadata")
_ALIKE = {"cost": "cost_usd", "latency": "latency_ms", "session": "session_id"}
"""Other words for a target on the command line."""

Column = Annotated[str, Field(min_length=1)]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Columns = Annotated[tuple[Column, ...], BeforeValidator(_listed)]


class ColumnMapping(Record):
    """Which columns of a foreign file hold what; a column that it does not name may be unknown.

    Without a mapping of its own, each target is looked for under its name. In JSON, ``outer.inner`` names a column
    within another one.

    Args:
        text: One or more columns; what stands in them is joined by newlines, in this order.
        label: The column that names the right agent.
        label_level: Which name of a category tree is the label: ``"first"``, ``"last"``, or its position from 0,
            negative from the end. None takes the column's value as it stands.
        agent: Who acted.
        labels: Whom integers in ``label`` and ``agent`` stand for, from 0.
        success: Whether it did what was asked: true, false, 1, 0, yes, no.
        no_agent_fits: Whether nobody would have been right.
        quality: How well, in [0, 1], or on ``score_range``.
        feedback: What the user said, from -1 to 1.
        feedback_text: The user's words.
        response: What the agent answered.
        error: The error that ended the call.
        latency_ms: Time taken, in milliseconds.
        cost_usd: Money spent, in US dollars; nothing there is unknown, not 0.
        tokens: Tokens used.
        id: What tells one line from another, such as the id of a request: a line whose id was imported before is not
            counted again, and what it says then is a correction.
        time: When: in seconds or milliseconds since the epoch, or ISO 8601.
        session_id: The conversation or run.
        tenant: Whose task it was.
        task_type: Its coarse kind.
        step: Which step of its session, from 0.
        features: Columns that describe the task, or that hold an object of such.
        metrics: Columns with further numbers of the outcome, or with an object of such; texts among them are kept with
            the task's metadata, and not learnt.
        metadata: Columns to keep with the task.
        score_range: The lowest and the highest ``quality`` that there is, where that is not [0, 1].

    Raises:
        InvalidInputError: if it says nothing at all, or a field is malformed or unknown.
    """

    text: Columns = ()
    label: Column | None = None
    label_level: Literal["first", "last"] | int | None = None
    agent: Column | None = None
    labels: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    success: Column | None = None
    no_agent_fits: Column | None = None
    quality: Column | None = None
    feedback: Column | None = None
    feedback_text: Column | None = None
    response: Column | None = None
    error: Column | None = None
    latency_ms: Column | None = None
    cost_usd: Column | None = None
    tokens: Column | None = None
    id: Column | None = None
    time: Column | None = None
    session_id: Column | None = None
    tenant: Column | None = None
    task_type: Column | None = None
    step: Column | None = None
    features: Columns = ()
    metrics: Columns = ()
    metadata: Columns = ()
    score_range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self._says_nothing:
            raise ValueError("name a column for text, for label, or for another target")
        if self.label is None and self.label_level is not None:
            raise ValueError("label_level needs a label")
        if self.labels and self.label is None and self.agent is None:
            raise ValueError("labels needs a column for label or for agent")
        if self.score_range is not None and not self.score_range[0] < self.score_range[1]:
            raise ValueError("score_range: the lowest score comes first, and the highest is greater")
        return self

    @classmethod
    def parse(
        cls, pairs: Sequence[str], labels: Sequence[str] = (), score_range: tuple[float, float] | None = None
    ) -> Self:
        """Read ``TARGET=COLUMN``, ``text=COLUMN,COLUMN`` and ``label=COLUMN:LEVEL``, as the command line spells them.

        Raises:
            InvalidInputError: if a pair is malformed, names an unknown target, or stands twice.
        """
        fields: dict[str, Any] = {}
        for pair in pairs:
            word, _, named = pair.partition("=")
            target = _ALIKE.get(word, word)
            columns = [column.strip() for column in named.split(",")] if target in _SEVERAL else [named.strip()]
            if target not in _TARGETS or not all(columns):
                raise InvalidInputError(
                    f"mapping {pair!r}: write text=COLUMN,COLUMN, label=COLUMN:LEVEL or TARGET=COLUMN; the targets are "
                    f"{', '.join(_TARGETS)}"
                )
            if target in fields:
                raise InvalidInputError(f"mapping: {target} is given twice; several text columns: text=COLUMN,COLUMN")
            if target in _SEVERAL:
                fields[target] = columns
            elif target == "label" and (level := _LEVEL.fullmatch(columns[0])):
                fields |= {"label": level[1], "label_level": level[2] if level[2] in _LEVELS else int(level[2])}
            else:
                fields[target] = columns[0]
        return cls(**fields, labels=tuple(labels), score_range=score_range)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Every column that it names."""
        single = {column for name in _SINGLE if (column := getattr(self, name)) is not None}
        return frozenset(single.union(*(getattr(self, name) for name in _SEVERAL)))

    @property
    def _says_nothing(self) -> bool:
        return not self.columns and self.score_range is None

    @property
    def texts(self) -> frozenset[str]:
        """Columns whose cells are taken as they stand in a CSV file, whatever they look like."""
        numbers = {getattr(self, name) for name in _NUMBERS}
        return self.columns - {*self.features, *self.metrics, *self.metadata, *numbers}

    @cached_property
    def outer(self) -> frozenset[str]:
        """Columns of which it names something within."""
        return frozenset(name.partition(".")[0] for name in self.columns)

    def missing(self, there: Collection[str]) -> list[str]:
        """Which of its columns are not among these; of one within another, the outer one counts."""
        return sorted(name for name in self.columns if name not in there and name.partition(".")[0] not in there)

    def check_columns(self, there: Collection[str], file: str) -> None:
        """Compare with the columns of a file.

        Raises:
            InvalidInputError: if one is not there; names those that are.
        """
        if missing := self.missing(there):
            shown = [*map(repr, list(there)[:_SHOWN]), *(["…"] if len(there) > _SHOWN else [])]
            raise InvalidInputError(
                f"{file}: nothing stands in a column {', '.join(map(repr, missing))}; there are {', '.join(shown)}"
            )

    def apply(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row under the names that every reader knows, such as ``text`` and ``label``, beside the columns not mapped.

        Raises:
            InvalidInputError: if nothing stands where the text should, or a label is neither a word nor, with a
                level, a tree that has it, nor, with ``labels``, one of their positions.
        """
        known = {column: value for column, value in row.items() if column not in self.columns}
        if self.text:
            parts = [_spelled(value) for column in self.text if not _is_empty(value := found_in(row, column))]
            if not parts:
                raise InvalidInputError(f"no text stands in {', '.join(self.text)}")
            known["text"] = "\n".join(parts)
        for name in _SINGLE:
            column = getattr(self, name)
            if column is not None or name in ("id", "time"):  # these mean something only where somebody says so
                known.pop(name, None)
            if column is not None:
                value = found_in(row, column)
                if not _is_empty(value):
                    known[name] = self._label_of(value) if name == "label" else value
        if self.label is not None:
            known.pop("correct_agent", None)
        if self.agent is not None and "agent" in known:
            known["agent"] = self._name(known["agent"], self.agent)
        if self.score_range is not None and known.get("quality") is not None:
            known["quality"] = rescaled(known["quality"], self.quality or "quality", self.score_range)
        return self._with_objects(known, row)

    def _with_objects(self, known: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """Add features, metrics and metadata."""
        metadata = {column: value for column in self.metadata if (value := found_in(row, column)) is not None}
        metrics: dict[str, float] = {}
        for column in self.metrics:
            kept: dict[str, Any] = {}
            for name, value in _named(column, found_in(row, column)):
                if isinstance(value, (bool, int, float)):
                    metrics[name] = number(value + 0, name) or 0.0
                elif not _is_empty(value):
                    kept[name] = value
            metadata |= {column: kept} if kept else {}
        features = {name: value for column in self.features for name, value in _named(column, found_in(row, column))}
        found = {"features": features, "metrics": metrics, "metadata": metadata}
        return known | {name: values for name, values in found.items() if values}

    def _label_of(self, value: object) -> str:
        if self.label_level is None:
            return self._name(value, str(self.label))
        path = category_path(value)
        try:
            name = path[self.label_level if isinstance(self.label_level, int) else _LEVELS[self.label_level]]
        except IndexError:
            tree = " >> ".join(path)
            raise InvalidInputError(f"{self.label}: no level {self.label_level} in {tree!r:.60}") from None
        return _agent_name(name, str(self.label))

    def _name(self, value: object, column: str) -> str:
        if isinstance(value, (dict, list)):
            raise InvalidInputError(f"{column}: expected a word; a category tree needs a level")
        name = _spelled(value).strip()
        if self.labels and name.removeprefix("-").isdecimal():
            if not 0 <= int(name) < len(self.labels):
                raise InvalidInputError(f"{column}: {name} stands for nobody: labels names {len(self.labels)}, from 0")
            return self.labels[int(name)]
        if not isinstance(value, str):
            raise InvalidInputError(f"{column}: {name} is a number; say whom it stands for with labels (--labels A,B)")
        return _agent_name(name, column)


_SINGLE = tuple(
    name for name in ColumnMapping.model_fields if name not in (*_SEVERAL, "label_level", "labels", "score_range")
)
"""Targets that one column stands for."""
_NUMBERS = ("quality", "feedback", "latency_ms", "cost_usd", "tokens", "step")
_TARGETS = (*_SEVERAL, *_SINGLE)


def _agent_name(name: str, column: str) -> str:
    try:
        return Agent(name).name
    except InvalidAgentError as error:
        raise InvalidInputError(f"{column}: {error}") from None


def found_in(row: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, or within another one; None where nothing does."""
    if column in row or "." not in column:
        return row.get(column)
    outer, _, inner = column.partition(".")
    within = row.get(outer)
    return found_in(within, inner) if isinstance(within, Mapping) else None


def _named(column: str, value: object) -> list[tuple[str, Any]]:
    """A cell as values with names: those of the object that it holds, or its own under the column's name."""
    if isinstance(value, Mapping):
        return [(str(name), inner) for name, inner in value.items() if inner is not None]
    return [] if value is None else [(column.rpartition(".")[2], value)]


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _spelled(value: object) -> str:
    """A value as a text; what is no text is spelled as JSON, a whole number without a point."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


# -- category trees

_ARROW = re.compile(r"\s*>>\s*|\s+>\s+")
_QUOTED = re.compile(r"""(['"])(.*?)\1\s*[,\]]""")
_EDGES = " \t\r\n\"'"


def category_path(value: object) -> tuple[str, ...]:
    """The names in a category tree, from the widest to the narrowest.

    A tree is a text with ``>>`` or a spaced ``>`` between its names, a list of names, or either in the brackets and
    quotes of a list that was written as a text. Of several trees, the first counts.

    Example:
        >>> category_path('["Electronics >> Mobile Phones >> Smartphones"]')
        ('Electronics', 'Mobile Phones', 'Smartphones')
        >>> category_path(["Electronics", "Mobile Phones"])
        ('Electronics', 'Mobile Phones')
    """
    items = _items(value)
    names = _ARROW.split(items[0]) if items and _ARROW.search(items[0]) else items
    return tuple(plain for name in names if (plain := name.strip(_EDGES)))


def _items(value: object) -> list[str]:
    if isinstance(value, str):
        spelled = value.strip()
        return _spelled_list(spelled) if spelled.startswith("[") else [spelled]
    if isinstance(value, list):
        inner = value[0] if value and isinstance(value[0], list) else value
        return [item for item in inner if isinstance(item, str)]
    return []


def _spelled_list(spelled: str) -> list[str]:
    """The items of a list in JSON or in Python's spelling; a damaged one is a single item."""
    try:
        return _items(json.loads(spelled))
    except (ValueError, RecursionError):
        found = [quoted[2] for quoted in _QUOTED.finditer(spelled)]
        return found or [spelled.strip("[]" + _EDGES)]
