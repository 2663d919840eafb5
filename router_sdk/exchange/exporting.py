"""Examples out: JSON lines, CSV, and the chat formats that fine-tuning tools read.

Beside the store stands a list of each export: where it was written, and of which decisions its lines are, so that what
is forgotten later can be taken out there, too.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pydantic_core import from_json

from router_sdk.errors import InvalidInputError, StoreUnavailableError
from router_sdk.store.artifacts import write_private

if TYPE_CHECKING:
    from router_sdk.records import Example

ExportFormat = Literal["jsonl", "csv", "chatml", "alpaca", "completion"]

Row = dict[str, Any]

_log = logging.getLogger(__name__)


def _plain(example: Example, response: str | None) -> Row:
    task, signals = example.task, example.signals
    return {
        "decision_id": example.decision_id,
        "at": example.decided_at,
        "text": task.text,
        "task_type": example.task_type,
        "features": dict(task.features),
        "session_id": task.session_id,
        "agent": example.agent,
        "reward": example.reward,
        "propensity": example.propensity,
        "source": example.source,
        **{name: value for name, value in signals._asdict().items() if value is not None},
        **({"response": response} if response is not None else {}),
    }


def _chatml(example: Example, response: str) -> Row:
    messages = [{"role": "user", "content": example.task.text}, {"role": "assistant", "content": response}]
    return {"messages": messages, "score": example.reward, "agent": example.agent}


def _alpaca(example: Example, response: str) -> Row:
    return {"instruction": example.task.text, "input": "", "output": response, "score": example.reward}


def _completion(example: Example, response: str) -> Row:
    return {"prompt": example.task.text, "completion": response, "score": example.reward}


_CHAT: dict[str, Callable[[Example, str], Row]] = {"chatml": _chatml, "alpaca": _alpaca, "completion": _completion}

_CHAT_KEYS = {
    "chatml": {"messages", "score", "agent"},
    "alpaca": {"instruction", "input", "output", "score"},
    "completion": {"prompt", "completion", "score"},
}

_CSV_COLUMNS = (
    *("decision_id", "at", "text", "task_type", "features", "session_id", "agent", "reward", "propensity", "source"),
    *("success", "quality", "feedback", "correct_agent", "no_agent_fits", "latency_ms", "cost_usd", "tokens"),
    *("metrics", "response"),
)


def export_examples(
    examples: Iterable[tuple[Example, str | None]],
    path: Path,
    form: ExportFormat,
    min_reward: float | None,
    lists: Path | None = None,
) -> int:
    """Write examples with their responses to a file; it appears whole or not at all, for its owner alone.

    The chat formats pair a task's text with the agent's response, so examples without either are left out.

    Args:
        examples: Examples and what the agent answered.
        path: Where to.
        form: Which format.
        min_reward: Leave out what was rewarded less, or not at all; None keeps all.
        lists: Folder of the lists of exports; None makes none, for a file that is gone in a moment.

    Returns:
        How many were written.

    Raises:
        InvalidInputError: if the format is unknown or the file cannot be written.
    """
    if form not in ("jsonl", "csv", *_CHAT):
        raise InvalidInputError(f"format: {form!r} is unknown; use jsonl, csv, {', '.join(_CHAT)}")
    if not path.parent.is_dir() or not path.name:
        raise InvalidInputError(f"cannot write {str(path)!r}: its folder does not exist")
    if path.is_dir():
        raise InvalidInputError(f"cannot write {path}: it is a folder")
    ids: list[str] = []
    rows = _rows(examples, form, min_reward, ids)
    with _replacing(path) as file:
        if lists is not None:
            _list(lists, path, form, ids, draft=True)  # before there is anything that forget would have to find
        _write_csv(file, rows) if form == "csv" else _write_lines(file, rows)
        if lists is not None:
            _list(lists, path, form, ids, draft=True)
    if lists is not None:
        _list(lists, path, form, ids)
    return len(ids)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
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


def _rows(
    examples: Iterable[tuple[Example, str | None]], form: ExportFormat, min_reward: float | None, ids: list[str]
) -> Iterator[Row]:
    """The rows; the decision of each is added to ``ids``."""
    for example, response in examples:
        if min_reward is not None and (example.reward is None or example.reward < min_reward):
            continue
        if form not in _CHAT:
            ids.append(example.decision_id)
            yield _plain(example, response)
        elif response and example.task.text:
            ids.append(example.decision_id)
            yield _CHAT[form](example, response)


def _write_lines(file: TextIO, rows: Iterable[Row]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(file: TextIO, rows: Iterable[Row]) -> None:
    writer = csv.DictWriter(file, _CSV_COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()})


# -- what is forgotten is taken out


def _list(lists: Path, path: Path, form: str, ids: list[str], *, draft: bool = False) -> None:
    """Note where an export is, and of which decision each of its lines; of a draft beside what it replaces."""
    place = str(path.absolute())
    name = sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    own, other = (lists / f"{name}{'-draft' if of_draft else ''}.json" for of_draft in (draft, True))
    try:
        write_private(own, json.dumps({"path": place, "format": form, "decisions": ids}))
        if not draft:
            other.unlink(missing_ok=True)
    except (OSError, StoreUnavailableError) as error:  # such as a store on a medium that is read-only
        _log.warning("the export is not listed beside the store, so that forget will not reach it: %s", error)


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
            told = json.loads(note.read_text(encoding="utf-8"))
            path, form, ids = Path(told["path"]), str(told["format"]), [str(one) for one in told["decisions"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
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
            _list(lists, path, form, [one for one in ids if one not in gone])


def _take_out(path: Path, form: str, ids: list[str], gone: Collection[str]) -> None:
    with path.open(encoding="utf-8", newline="\n") as source:
        lines = source.readlines()
    if len(lines) == sum(one not in gone for one in ids):
        return  # it was taken out, and the list not yet written
    if not all(_is_line(form, *pair) for pair in zip(lines, ids, strict=True)):
        raise ValueError("its lines are others")
    with _replacing(path) as file:
        file.writelines(line for line, decision_id in zip(lines, ids, strict=True) if decision_id not in gone)


def _is_line(form: str, line: str, decision_id: str) -> bool:
    """Whether a line can be an export's, of that decision."""
    row = from_json(line)
    if not isinstance(row, dict):
        return False
    return row.get("decision_id") == decision_id if form == "jsonl" else row.keys() == _CHAT_KEYS[form]


def _take_out_of_csv(path: Path, gone: Collection[str]) -> None:
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.reader(source)
        header = next(reader, [])
        place = header.index("decision_id")
        with _replacing(path) as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(row for row in reader if not row or row[place] not in gone)
