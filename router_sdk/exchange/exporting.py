"""Examples out: with all that the log holds, or as chats to fine-tune on; and what ``forget`` takes out again.

The store knows where each export was written, and of which decisions its lines are, so that what is forgotten later
can be taken out there, too.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, TypedDict, Unpack

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError, StoreUnavailableError
from router_sdk.exchange.lines import COLUMNS, cells, dumped, fresh_line, line_of
from router_sdk.exchange.reading import read_rows
from router_sdk.private_files import may_be_written, write_private

if TYPE_CHECKING:
    from router_sdk.exchange.history import History
    from router_sdk.records import Example

ExportFormat = Literal["jsonl", "csv", "chatml", "alpaca", "completion"]

Row = dict[str, Any]

_log = logging.getLogger(__name__)


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
    path = may_be_written(path)
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


# -- chats


def _chatml(example: Example, response: str) -> Row:
    messages = [{"role": "user", "content": example.task.text}, {"role": "assistant", "content": response}]
    return {"messages": messages, "score": example.reward, "agent": example.agent}


def _alpaca(example: Example, response: str) -> Row:
    return {"instruction": example.task.text, "input": "", "output": response, "score": example.reward}


def _completion(example: Example, response: str) -> Row:
    return {"prompt": example.task.text, "completion": response, "score": example.reward}


CHAT: Mapping[str, Callable[[Example, str], Row]] = {"chatml": _chatml, "alpaca": _alpaca, "completion": _completion}
"""Makes a row of an example and a response."""

_PAIR = {"chatml": ("messages",), "alpaca": ("instruction", "input", "output"), "completion": ("prompt", "completion")}
"""What two equal pairs have in common; not who answered, nor how well."""


def is_pair(row: Mapping[str, Any], form: str) -> bool:
    """Whether a row is a pair in this format."""
    return all(name in row for name in _PAIR[form] if name != "input")


class Pairs:
    """The pairs that were written so far.

    Args:
        form: Their format.
        deduplicate: Whether a second one that is equal is left out.
    """

    def __init__(self, form: str, *, deduplicate: bool) -> None:
        self._form, self._deduplicate = form, deduplicate
        self._lines: dict[bytes, int] = {}
        self._count = 0

    def place(self, row: Mapping[str, Any]) -> int | None:
        """The line of an equal pair, counted from 0, or None where there is none and this is the next."""
        if self._deduplicate:
            content = repr([row.get(name) for name in _PAIR[self._form]])
            found = blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()
            line = self._lines.setdefault(found, self._count)
            if line < self._count:
                return line
        self._count += 1
        return None


def existing_pairs(path: Path, form: str) -> Iterator[Row]:
    """The rows of a file of pairs.

    Raises:
        InvalidInputError: if it cannot be read, or a line is no pair in this format.
    """
    for number, row in read_rows(path, ending=".jsonl"):
        if isinstance(row, str) or not is_pair(row, form):
            raise InvalidInputError(f"{path.name}:{number}: no pair in the format {form}; correct it, or leave it out")
        yield dict(row)


# -- where exports are


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write that takes its place once it is whole.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    draft = _draft_of(path)
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def note_export(lists: Path, path: Path, form: str, ids: list[str], *, draft: bool = False) -> None:
    """Note where an export is, and of which decision each of its lines; of a draft beside what it replaces.

    A line that is of no decision that the store knows has an empty id.
    """
    place = str(path.absolute())
    own, other = (_note_of(lists, path, draft=of_draft) for of_draft in (draft, True))
    try:
        write_private(own, json.dumps({"path": place, "format": form, "decisions": ids}))
        if not draft:
            other.unlink(missing_ok=True)
    except (OSError, StoreUnavailableError) as error:  # such as a store on a medium that is read-only
        _log.warning("the export is not listed beside the store, so that forget will not reach it: %s", error)


def _note_of(lists: Path, path: Path, *, draft: bool) -> Path:
    name = sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return lists / f"{name}{'-draft' if draft else ''}.json"


def noted_decisions(lists: Path | None, path: Path) -> list[str]:
    """Of which decision each line of an export is, as it was noted; nothing where it was not or has changed."""
    if lists is None:
        return []
    try:
        *_, ids = _read_note(_note_of(lists, path, draft=False))
        with path.open("rb") as file:
            return ids if len(ids) == sum(1 for _ in file) else []
    except (OSError, *_NO_NOTE):
        return []


_NO_NOTE = (ValueError, KeyError, TypeError, RecursionError)
"""What reading a file raises that is no note."""


def _read_note(note: Path) -> tuple[Path, str, list[str]]:
    """Where an export is, in which format, and of which decision each of its lines."""
    told = json.loads(note.read_text(encoding="utf-8"))
    return Path(told["path"]), str(told["format"]), [str(one) for one in told["decisions"]]


def erase_from_exports(lists: Path, decision_ids: Collection[str]) -> None:
    """Take these decisions' lines out of the listed exports that are still where and what they were written.

    A list is a file that anybody may have written: what is no export by its own words is left as it is.

    Args:
        lists: Folder of the lists of exports.
        decision_ids: What was forgotten.

    Raises:
        InvalidInputError: if an export is there and cannot be read or written.
    """
    gone = set(decision_ids)
    for note in sorted(lists.glob("*.json")):
        try:
            path, form, ids = _read_note(note)
        except (OSError, *_NO_NOTE):
            _log.warning("%s is no list of an export", note.name)
            continue
        if gone:
            _draft_of(path).unlink(missing_ok=True)  # of a killed process; who is writing it is told to begin again
        if not path.is_file():
            note.unlink(missing_ok=True)
        elif not gone.isdisjoint(ids):
            try:
                _take_out_of_csv(path, gone) if form == "csv" else _take_out(path, form, ids, gone)
            except InvalidInputError:
                raise
            except OSError as error:
                raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
            except (ValueError, LookupError, csv.Error) as error:
                words = "%s was changed since it was written; what was forgotten is not taken out of it: %s"
                _log.warning(words, path, error)
            note_export(lists, path, form, [one for one in ids if one not in gone])


def _take_out(path: Path, form: str, ids: list[str], gone: Collection[str]) -> None:
    with path.open(encoding="utf-8", newline="\n") as source:
        lines = source.readlines()
    if len(lines) == sum(one not in gone for one in ids):
        return  # it was taken out, and the list not yet written
    if not all(_is_line(form, *pair) for pair in zip(lines, ids, strict=True)):
        raise ValueError("its lines are others")
    with replacing(path) as file:
        file.writelines(line for line, decision_id in zip(lines, ids, strict=True) if decision_id not in gone)


def _is_line(form: str, line: str, decision_id: str) -> bool:
    """Whether a line can be an export's, of that decision."""
    row = from_json(line)
    if not isinstance(row, dict):
        return False
    if form == "jsonl":
        return bool(row.get("decision_id", "") == decision_id)
    return not decision_id or is_pair(row, form)


def _take_out_of_csv(path: Path, gone: Collection[str]) -> None:
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.reader(source)
        header = next(reader, [])
        place = header.index("decision_id")
        with replacing(path) as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(row for row in reader if not row or row[place] not in gone)
