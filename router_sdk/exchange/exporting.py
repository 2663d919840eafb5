"""Examples out: JSON lines, CSV, and the chat formats that fine-tuning tools read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from router_sdk.records import Example

ExportFormat = Literal["jsonl", "csv", "chatml", "alpaca", "completion"]

Row = dict[str, Any]


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

_CSV_COLUMNS = (
    *("decision_id", "at", "text", "task_type", "features", "session_id", "agent", "reward", "propensity", "source"),
    *("success", "quality", "feedback", "correct_agent", "no_agent_fits", "latency_ms", "cost_usd", "tokens"),
    *("metrics", "response"),
)


def export_examples(
    examples: Iterable[tuple[Example, str | None]], path: Path, form: ExportFormat, min_reward: float | None
) -> int:
    """Write examples with their responses to a file; it appears whole or not at all.

    The chat formats pair a task's text with the agent's response, so examples without either are left out.

    Args:
        examples: Examples and what the agent answered.
        path: Where to.
        form: Which format.
        min_reward: Leave out what was rewarded less, or not at all; None keeps all.

    Returns:
        How many were written.

    Raises:
        InvalidInputError: if the format is unknown or the file cannot be written.
    """
    if form not in ("jsonl", "csv", *_CHAT):
        raise InvalidInputError(f"format: {form!r} is unknown; use jsonl, csv, {', '.join(_CHAT)}")
    rows = _rows(examples, form, min_reward)
    if not path.parent.is_dir() or not path.name:
        raise InvalidInputError(f"cannot write {str(path)!r}: its folder does not exist")
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            written = _write_csv(file, rows) if form == "csv" else _write_lines(file, rows)
        draft.replace(path)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return written


def _rows(
    examples: Iterable[tuple[Example, str | None]], form: ExportFormat, min_reward: float | None
) -> Iterator[Row]:
    for example, response in examples:
        if min_reward is not None and (example.reward is None or example.reward < min_reward):
            continue
        if form not in _CHAT:
            yield _plain(example, response)
        elif response and example.task.text:
            yield _CHAT[form](example, response)


def _write_lines(file: TextIO, rows: Iterable[Row]) -> int:
    written = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        written += 1
    return written


def _write_csv(file: TextIO, rows: Iterable[Row]) -> int:
    writer = csv.DictWriter(file, _CSV_COLUMNS)
    writer.writeheader()
    written = 0
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()})
        written += 1
    return written
