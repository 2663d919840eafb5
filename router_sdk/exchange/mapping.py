"""What the columns of a foreign file mean: one mapping for every reader of labelled files."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from router_sdk.errors import InvalidAgentError, InvalidInputError
from router_sdk.exchange.category_tree import category_path
from router_sdk.records import Agent, Record

_SPELLING = "write text=COLUMN, text=COLUMN,COLUMN, label=COLUMN or label=COLUMN:LEVEL"
_LEVEL = re.compile(r"(.+):(first|last|-?\d+)", re.DOTALL)
_SHOWN = 40
_LEVELS = {"first": 0, "last": -1}

Column = Annotated[str, Field(min_length=1)]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class ColumnMapping(Record):
    """Which columns of a foreign file hold a task's text and its label; a column that it does not name may be unknown.

    Args:
        text: One or more columns; what stands in them is joined by newlines, in this order. Without any, the text
            is looked for under its usual names.
        label: The column that names the right agent. Without one, it is looked for under its usual names.
        label_level: Which name of a category tree is the label: ``"first"``, ``"last"``, or its position from 0,
            negative from the end. None takes the column's value as it stands.

    Raises:
        InvalidInputError: if it names no column at all, or a field is malformed or unknown.
    """

    text: Annotated[tuple[Column, ...], BeforeValidator(_listed)] = ()
    label: Column | None = None
    label_level: Literal["first", "last"] | int | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.columns:
            raise ValueError("name a column for text, for label, or for both")
        if self.label is None and self.label_level is not None:
            raise ValueError("label_level needs a label")
        return self

    @classmethod
    def parse(cls, pairs: Sequence[str]) -> Self:
        """Read ``text=COLUMN,COLUMN`` and ``label=COLUMN:LEVEL``, as the command line spells a mapping.

        Raises:
            InvalidInputError: if a pair is malformed, names an unknown target, or stands twice.
        """
        fields: dict[str, Any] = {}
        for pair in pairs:
            target, _, named = pair.partition("=")
            columns = [column.strip() for column in named.split(",")] if target == "text" else [named.strip()]
            if target not in ("text", "label") or not all(columns):
                raise InvalidInputError(f"mapping {pair!r}: {_SPELLING}")
            if target in fields:
                raise InvalidInputError(f"mapping: {target} is given twice; several text columns: text=COLUMN,COLUMN")
            if target == "text":
                fields["text"] = columns
            elif level := _LEVEL.fullmatch(columns[0]):
                fields |= {"label": level[1], "label_level": level[2] if level[2] in _LEVELS else int(level[2])}
            else:
                fields["label"] = columns[0]
        return cls(**fields)

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it names."""
        return frozenset(self.text) | (frozenset() if self.label is None else {self.label})

    def check_columns(self, there: Collection[str], file: str) -> None:
        """Compare with the columns of a file.

        Raises:
            InvalidInputError: if one is not there; names those that are.
        """
        if missing := sorted(self.columns.difference(there)):
            shown = [*map(repr, list(there)[:_SHOWN]), *(["…"] if len(there) > _SHOWN else [])]
            raise InvalidInputError(
                f"{file}: nothing stands in a column {', '.join(map(repr, missing))}; there are {', '.join(shown)}"
            )

    def apply(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row under the names that every reader knows: ``text`` and ``label``, beside the columns not mapped.

        Raises:
            InvalidInputError: if nothing stands where the text should, or the label is neither a word nor, with a
                level, a tree that has it.
        """
        known = {column: value for column, value in row.items() if column not in self.columns}
        if self.text:
            parts = [_spelled(row[column]) for column in self.text if not _is_empty(row.get(column))]
            if not parts:
                raise InvalidInputError(f"no text stands in {', '.join(self.text)}")
            known["text"] = "\n".join(parts)
        if self.label is not None:
            for same in ("label", "correct_agent"):
                known.pop(same, None)
            if self.label in row:
                known["label"] = self._label_of(row[self.label])
        return known

    def _label_of(self, value: object) -> str | None:
        if _is_empty(value):
            return None
        if self.label_level is None:
            if isinstance(value, (dict, list)):
                raise InvalidInputError(f"{self.label}: expected a word; a category tree needs a level")
            name = _spelled(value).strip()
        else:
            path = category_path(value)
            try:
                name = path[self.label_level if isinstance(self.label_level, int) else _LEVELS[self.label_level]]
            except IndexError:
                tree = " >> ".join(path)
                raise InvalidInputError(f"{self.label}: no level {self.label_level} in {tree!r:.60}") from None
        try:
            return Agent(name).name
        except InvalidAgentError as error:
            raise InvalidInputError(f"{self.label}: {error}") from None


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _spelled(value: object) -> str:
    """A value as a text; what is no text is spelled as JSON, a whole number without a point."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
