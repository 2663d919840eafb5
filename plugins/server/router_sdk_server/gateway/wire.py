"""The bytes on the way: a model's name exchanged in place, and what a stream of events tells while it passes.

Nothing is written anew: what a client sent and an upstream answered passes byte for byte, but for the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json, to_json

from router_sdk_server.gateway.upstreams import Usage

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_M, _O, _D, _E, _L = (rb"(?:%c|\\u00(?i:%02x))" % (letter, letter) for letter in b"model")
_MODEL = re.compile(rb'"(?<!\\")' + _M + _O + _D + _E + _L + rb'"\s*:\s*(' + _STRING + rb")?", re.DOTALL)
"""The name, whichever of its letters are escaped, and its value where that is a text."""
_MARKS = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_BEGIN = re.compile(rb"\s*\{\s*")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_NO_USAGE = re.compile(rb'"usage"\s*:\s*null')
_ASK_USAGE = b'"stream_options":{"include_usage":true}'


def with_model(document: bytes, name: str) -> bytes:
    """A JSON object with another value of its own ``model``, wherever that is a text; all else as it was.

    Args:
        document: The object, which may be all but the beginning of a line of an event stream.
        name: The model's name.
    """
    pieces, at = [], 0
    for found in _models(document):
        if found[1] is not None:
            pieces += [document[at : found.start(1)], to_json(name)]
            at = found.end(1)
    return b"".join([*pieces, document[at:]])


def models_in(document: bytes) -> int:
    """How often a JSON object says its own ``model``; of several, readers differ in which counts."""
    return sum(1 for _ in _models(document))


def _models(document: bytes) -> Iterator[re.Match[bytes]]:
    depth = at = 0
    for found in _MODEL.finditer(document):
        depth, at = depth + _opened(document, at, found.start()), found.start()
        if depth == 1:
            yield found


def _opened(document: bytes, begin: int, end: int) -> int:
    """How many more objects and lists are open at a place than at an earlier one, both outside of texts."""
    more = 0
    for mark in _MARKS.finditer(document, begin, end):
        first = document[mark.start()]
        if first in b"{[":
            more += 1
        elif first in b"}]":
            more -= 1
    return more


def asking_for_usage(document: bytes) -> bytes:
    """A request's object that asks for the tokens of a streamed answer; it must not say anything of that yet."""
    opened = _BEGIN.match(document)
    assert opened is not None
    return document[: opened.end()] + _ASK_USAGE + b"," + document[opened.end() :]


def parsed(document: bytes) -> dict[str, Any] | None:
    """A JSON object, or None where it is none."""
    try:
        told = from_json(document)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


class Events:
    """A streamed answer on its way: server-sent events whose data are chunks of a completion.

    Args:
        name: What chunks are to say as their model.
        keep_usage: Whether an event that has nothing but the tokens is kept back, because the client did not ask.

    Attributes:
        usage: The tokens, once they are told.
        complete: Whether the end of the answer was seen.
        error: What the upstream says went wrong, once it does.
    """

    def __init__(self, name: str, *, keep_usage: bool = False) -> None:
        self._name, self._keep_usage = name, keep_usage
        self._rest = b""
        self._kept = False
        self.usage: Usage | None = None
        self.complete = False
        self.error: str | None = None

    def pass_on(self, piece: bytes) -> bytes:
        """The lines that are whole with a further piece of the answer, as the client gets them."""
        held = self._rest + piece if self._rest else piece
        end = held.rfind(b"\n") + 1
        self._rest = held[end:]
        return b"".join([self._line(line) for line in held[:end].splitlines(keepends=True)])

    def last(self) -> bytes:
        """What came after the last whole line, once nothing more comes."""
        rest, self._rest = self._rest, b""
        return self._line(rest)

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(b"data:"):
            if self._kept and not line.strip():  # the end of an event that was kept back
                self._kept = False
                return b""
            return line
        data = line[5:].strip()
        if data == b"[DONE]":
            self.complete = True
            return line
        if b'"usage"' in data and not _NO_USAGE.search(data):
            told = parsed(data) or {}
            self.usage = Usage.told(told.get("usage")) or self.usage
            if self._keep_usage and told.get("choices") == []:
                self._kept = True
                return b""
        if b'"error"' in data and (told := parsed(data) or {}).get("error"):
            self.error = "it told of an error in its stream"
        self.complete = self.complete or _FINISHED.search(data) is not None
        return with_model(line, self._name)
