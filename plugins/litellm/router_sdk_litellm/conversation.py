"""What is routed: the words of the user in the messages of a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TURNS = 3
"""How many of the newest messages of the user are routed: "yes, do that" says nothing by itself."""

MOST_CHARS = 20_000
"""Of them at most so much, from the end."""


def text_of(messages: object, turns: int = TURNS) -> str:
    """The words of the newest ``turns`` messages of the user, oldest first, or of a plain input; empty without any."""
    if isinstance(messages, str):
        return messages[-MOST_CHARS:]
    if not isinstance(messages, Iterable):
        return ""
    told = list(messages)
    said = [_words(one.get("content")) for one in told if isinstance(one, Mapping) and one.get("role") == "user"]
    said = said or [one for one in told if isinstance(one, str)]
    return "\n".join([one for one in said if one][-turns:])[-MOST_CHARS:]


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, Iterable) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
