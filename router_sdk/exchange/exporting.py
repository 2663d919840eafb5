"""Examples out: JSON lines and CSV with all that the log holds, and the chat formats that fine-tuning tools read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, TypedDict, Unpack

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.chat import CHAT, Pairs, existing_pairs
from router_sdk.exchange.exported import note_export, noted_decisions, replacing
from router_sdk.exchange.lines import COLUMNS, cells, dumped, fresh_line, line_of

if TYPE_CHECKING:
    from router_sdk.exchange.history import History
    from router_sdk.records import Example

ExportFormat = Literal["jsonl", "csv", "chatml", "alpaca", "completion"]

Row = dict[str, Any]


class ExportSettings(TypedDict, total=False):
    """What goes out, as callers say it.

    Attributes:
        min_reward: Leave out what was rewarded less, or not at all.
        min_quality_score: Leave out what has less quality, or none that is known.
        min_user_feedback: Leave out what users said worse of, or nothing.
        deduplicate: Chat formats: write each pair of text and response once (the default).
        include_existing_data: Chat formats: begin with the pairs that are in ``existing_data_path``, or else in the
            file that is written.
        existing_data_path: Chat formats: a file of pairs in the same format to begin with.
        unanswered: jsonl and csv: decisions without an outcome, too.
    """

    min_reward: float | None
    min_quality_score: float | None
    min_user_feedback: float | None
    deduplicate: bool
    include_existing_data: bool
    existing_data_path: str | Path | None
    unanswered: bool


class ExportOptions(NamedTuple):
    """The same, thought through: ``existing_data_path`` is there where existing pairs come first."""

    min_reward: float | None = None
    min_quality_score: float | None = None
    min_user_feedback: float | None = None
    deduplicate: bool = True
    existing_data_path: Path | None = None
    unanswered: bool = False

    @classmethod
    def of(cls, path: str | Path, **settings: Unpack[ExportSettings]) -> ExportOptions:
        """Think settings through for a file to be written."""
        told: dict[str, Any] = dict(settings)
        existing = told.pop("existing_data_path", None)
        if told.pop("include_existing_data", False) and existing is None:
            existing = path
        return cls(**told, existing_data_path=None if existing is None else Path(existing))

    def passes(self, example: Example | None) -> bool:
        """Whether an example is to go out; None has no outcome. What is unknown reaches no least value."""
        if example is None:
            return self.unanswered and self[:3] == (None, None, None)
        known = (example.reward, example.signals.quality, example.signals.feedback)
        return all(
            least is None or (value is not None and value >= least)
            for value, least in zip(known, self[:3], strict=True)
        )

    def check(self, form: str) -> None:
        """Look whether the options fit together.

        Raises:
            InvalidInputError: if not; names the option.
        """
        if form not in ("jsonl", "csv", *CHAT):
            raise InvalidInputError(f"format: {form!r} is unknown; use jsonl, csv, {', '.join(CHAT)}")
        if form not in CHAT and self.existing_data_path is not None:
            raise InvalidInputError(f"existing_data_path: {form} holds what happened here; use {', '.join(CHAT)}")
        if form in CHAT and self.unanswered:
            raise InvalidInputError(f"unanswered: {form} pairs a text with its response; use jsonl or csv")
        for name, low, least in zip(self._fields, (0, 0, -1), self[:3], strict=False):
            if least is not None and not low <= least <= 1:
                raise InvalidInputError(f"{name}: expected a number in [{low}, 1], got {least!r:.60}")


def export_examples(
    history: History, path: Path, form: ExportFormat, options: ExportOptions, lists: Path | None = None
) -> int:
    """Write examples to a file; it appears whole or not at all, for its owner alone.

    The chat formats pair a task's text with the agent's response, so examples without either are left out.

    Args:
        history: The examples.
        path: Where to.
        form: Which format.
        options: What goes out.
        lists: Folder of the lists of exports; None makes none, for a file that is gone in a moment.

    Returns:
        How many examples were written.

    Raises:
        InvalidInputError: if the format is unknown or the file cannot be written.
    """
    options.check(form)
    if not path.parent.is_dir() or not path.name:
        raise InvalidInputError(f"cannot write {str(path)!r}: its folder does not exist")
    if path.is_dir():
        raise InvalidInputError(f"cannot write {path}: it is a folder")
    ids: list[str] = []
    rows = _chats(history, form, options, ids, lists) if form in CHAT else _everything(history, options, ids)
    with replacing(path) as file:
        if lists is not None:
            note_export(lists, path, form, ids, draft=True)  # before there is anything that forget would have to find
        _write_csv(file, rows) if form == "csv" else _write_lines(file, rows)
        if lists is not None:
            note_export(lists, path, form, ids, draft=True)
    if lists is not None:
        note_export(lists, path, form, ids)
    return len(ids) if form in CHAT else sum(1 for decision_id in ids if decision_id)


def _everything(history: History, options: ExportOptions, ids: list[str]) -> Iterator[Row]:
    """The rows of a format that holds everything; the decision of each is added to ``ids``."""
    for logged, example in history.logged(unanswered=options.unanswered):
        if options.passes(example):
            ids.append(logged.decision.decision_id)
            yield line_of(logged, example)
    for start in history.fresh_starts():
        ids.append("")
        yield fresh_line(start)


def _chats(history: History, form: str, options: ExportOptions, ids: list[str], lists: Path | None) -> Iterator[Row]:
    """The rows of a chat format; the decision of each is added to ``ids``, or nothing where it is not known."""
    pairs = Pairs(form, deduplicate=options.deduplicate)
    if options.existing_data_path is not None:
        noted = noted_decisions(lists, options.existing_data_path)
        for number, row in enumerate(existing_pairs(options.existing_data_path, form)):
            if pairs.place(row) is None:
                ids.append(noted[number] if number < len(noted) else "")
                yield row
    for example, response in history.with_responses():
        if response and example.task.text and options.passes(example):
            row = CHAT[form](example, response)
            line = pairs.place(row)
            if line is None:
                ids.append(example.decision_id)
                yield row
            elif not ids[line]:  # who is forgotten is found by it
                ids[line] = example.decision_id


def _write_lines(file: TextIO, rows: Iterable[Row]) -> None:
    for row in rows:
        file.write(dumped(row) + "\n")


def _write_csv(file: TextIO, rows: Iterable[Row]) -> None:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow(cells(row))
