"""What is routed: the words of the user in the items that a run begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TURNS = 3
"""How many of the newest messages of the user are routed: "yes, do that" says nothing by itself."""

MOST_CHARS = 20_000
"""Of them at most so much, from the end."""


def text_of(given: str | Sequence[Any], turns: int = TURNS) -> str:
    """The words of the newest ``turns`` messages of the user, oldest first; empty where there are none."""
    if isinstance(given, str):
        return given[-MOST_CHARS:]
    said = (_words(item) for item in given if isinstance(item, Mapping) and item.get("role") == "user")
    return "\n".join([one for one in said if one][-turns:])[-MOST_CHARS:]


def _words(item: Mapping[str, Any]) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, Iterable) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
