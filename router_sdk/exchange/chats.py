"""Chats to fine-tune on: pairs of a task's text and an agent's response, and what of such a file is known already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import InvalidInputError
from router_sdk.exchange.reading import read_rows

if TYPE_CHECKING:
    from router_sdk.records import Example

Row = dict[str, Any]


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


def row_of_chat(row: Mapping[str, Any]) -> Row:
    """A pair in the format ``chatml`` as a task's line: what the user said first, to whom, and how it was rewarded.

    Raises:
        InvalidInputError: if it says no such thing.
    """
    messages = row["messages"] if isinstance(row["messages"], list) else []
    said = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "user"]
    if not said or row.get("agent") is None or row.get("score") is None:
        raise InvalidInputError("a chat teaches something with a message of the user, an agent and a score")
    return {"text": said[0].get("content"), "agent": row["agent"], "quality": row["score"]}
