"""Examples out: with all that the log holds, or as chats to fine-tune on; and what ``forget`` takes out again.

The store knows where each export was written, and of which decisions its lines are, so that what is forgotten later
can be taken out there, too.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, TypedDict, Unpack

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError, StoreUnavailableError
from router_sdk.exchange.chats import CHAT, Pairs, existing_pairs, is_pair
from router_sdk.exchange.curation import Curation, Prefer
from router_sdk.exchange.lines import COLUMNS, cells, dumped, fresh_line, line_of
from router_sdk.exchange.parquet import PartitionedWriter, take_out_of_parquet
from router_sdk.private_files import may_be_written, write_private

if TYPE_CHECKING:
    from router_sdk.exchange.history import History

ExportFormat = Literal["jsonl", "csv", "parquet", "chatml", "alpaca", "completion"]

Row = dict[str, Any]

_log = logging.getLogger(__name__)


class ExportSettings(TypedDict, total=False):
    """What goes out, as callers say it.

    Attributes:
        min_reward: Leave out what was rewarded less, or not at all.
        min_quality_score: Leave out what has less quality, or none that is known.
        min_user_feedback: Leave out what users said worse of, or nothing.
        deduplicate: Chat formats: write each pair of text and response once (the default). The others, by default
            everything: of labelled examples with equal tasks and equal labels the newest.
        balance: Most labelled examples of an agent, in multiples of the median over the agents, at least 1.
        most_examples: Most examples.
        prefer: Which to keep where some must go: the ``newest`` (the default), or the ``uncertain``, see
            ``TrainingConfig``.
        seed: Of that sample.
        include_existing_data: Chat formats: begin with the pairs that are in ``existing_data_path``, or else in the
            file that is written.
        existing_data_path: Chat formats: a file of pairs in the same format to begin with.
        unanswered: jsonl, csv and parquet: decisions without an outcome, too.
    """

    min_reward: float | None
    min_quality_score: float | None
    min_user_feedback: float | None
    deduplicate: bool | None
    balance: float | None
    most_examples: int | None
    prefer: Prefer
    seed: int
    include_existing_data: bool
    existing_data_path: str | Path | None
    unanswered: bool


class ExportOptions(NamedTuple):
    """The same, thought through: ``existing_data_path`` is there where existing pairs come first."""

    min_reward: float | None = None
    min_quality_score: float | None = None
    min_user_feedback: float | None = None
    deduplicate: bool | None = None
    balance: float | None = None
    most_examples: int | None = None
    prefer: Prefer = "newest"
    seed: int = 0
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

    def curation(self, form: str) -> Curation:
        """What goes out of examples; what is unknown reaches no least value."""
        return Curation(
            *self[:3],
            unknown=False,
            dedupe=form not in CHAT and bool(self.deduplicate),
            balance=self.balance,
            most=self.most_examples,
            prefer=self.prefer,
            seed=self.seed,
        )

    def check(self, form: str) -> None:
        """Look whether the options fit together.

        Raises:
            InvalidInputError: if not; names the option.
        """
        if form not in ("jsonl", "csv", "parquet", *CHAT):
            raise InvalidInputError(f"format: {form!r} is unknown; use jsonl, csv, parquet, {', '.join(CHAT)}")
        if form not in CHAT and self.existing_data_path is not None:
            raise InvalidInputError(f"existing_data_path: {form} holds what happened here; use {', '.join(CHAT)}")
        if form in CHAT and self.unanswered:
            raise InvalidInputError(f"unanswered: {form} pairs a text with its response; use jsonl, csv or parquet")
        for name, low, least in zip(self._fields, (0, 0, -1), self[:3], strict=False):
            if least is not None and not low <= least <= 1:
                raise InvalidInputError(f"{name}: expected a number in [{low}, 1], got {least!r:.60}")
        for name, least in (("balance", self.balance), ("most_examples", self.most_examples)):
            if least is not None and not 1 <= least < float("inf"):
                raise InvalidInputError(f"{name}: expected a number of at least 1, got {least!r:.60}")
        if self.prefer not in ("newest", "uncertain"):
            raise InvalidInputError(f"prefer: {self.prefer!r:.60} is unknown; use newest or uncertain")
        if self.unanswered and (self.curation(form).chooses or self.curation(form).filters):
            raise InvalidInputError("unanswered: where examples are chosen, there are none without an outcome")


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
    if options.curation(form).chooses:
        history = history.only(options.curation(form).places(history), history.upto)
    ids: list[str] = []
    if form == "parquet":
        return _export_days(path, _everything(history, form, options, ids), lists)
    if path.is_dir():
        raise InvalidInputError(f"cannot write {path}: it is a folder")
    path = may_be_written(path)
    rows = _chats(history, form, options, ids, lists) if form in CHAT else _everything(history, form, options, ids)
    with replacing(path) as file:
        if lists is not None:
            note_export(lists, path, form, ids, draft=True)  # before there is anything that forget would have to find
        _write_csv(file, rows) if form == "csv" else _write_lines(file, rows)
        if lists is not None:
            note_export(lists, path, form, ids, draft=True)
    if lists is not None:
        note_export(lists, path, form, ids)
    return len(ids) if form in CHAT else sum(1 for decision_id in ids if decision_id)


def _export_days(folder: Path, rows: Iterable[Row], lists: Path | None) -> int:
    """Write a file for each day into a folder, and return how many examples."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"cannot write {folder}: it is no folder, and Parquet is written as one for each day")
    with closing(PartitionedWriter(folder)) as writer:
        try:
            for row in rows:
                writer.add(row)
            if lists is not None:
                for path, ids in writer.ids.items():
                    note_export(lists, path, "parquet", ids, draft=True)
            writer.finish()
        except OSError as error:
            raise InvalidInputError(f"cannot write {folder}: {error.strerror}") from error
        if lists is not None:
            for path, ids in writer.ids.items():
                note_export(lists, path, "parquet", ids)
        return sum(1 for ids in writer.ids.values() for decision_id in ids if decision_id)


def _everything(history: History, form: str, options: ExportOptions, ids: list[str]) -> Iterator[Row]:
    """The rows of a format that holds everything; the decision of each is added to ``ids``."""
    curation = options.curation(form)
    for logged, example in history.logged(unanswered=options.unanswered):
        if example is None or curation.passes(example):
            ids.append(logged.decision.decision_id)
            yield line_of(logged, example)
    for start in history.fresh_starts():
        ids.append("")
        yield fresh_line(start)


def _chats(history: History, form: str, options: ExportOptions, ids: list[str], lists: Path | None) -> Iterator[Row]:
    """The rows of a chat format; the decision of each is added to ``ids``, or nothing where it is not known."""
    pairs = Pairs(form, deduplicate=options.deduplicate is not False)
    curation = options.curation(form)
    if options.existing_data_path is not None:
        noted = noted_decisions(lists, options.existing_data_path)
        for number, row in enumerate(existing_pairs(options.existing_data_path, form)):
            if pairs.place(row) is None:
                ids.append(noted[number] if number < len(noted) else "")
                yield row
    for example, response in history.with_responses():
        if response and example.task.text and curation.passes(example):
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
                if form in ("csv", "parquet"):
                    (_take_out_of_csv if form == "csv" else take_out_of_parquet)(path, gone)
                else:
                    _take_out(path, form, ids, gone)
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
