"""Which exports a store knows: where each was written, and of which decisions its lines are.

So what is forgotten later can be taken out there, too.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError, StoreUnavailableError
from router_sdk.exchange.chat import is_pair
from router_sdk.store.artifacts import write_private

_log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write that takes its place once it is whole."""
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
    return path.with_name(path.name + ".part")


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
