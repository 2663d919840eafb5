"""What is routed: the task that a state or a list of messages stands for, and what their messages used up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

TURNS = 3
"""How many of the newest messages of the user are routed: "yes, do that" says nothing by itself."""

MOST_CHARS = 20_000
"""Of them at most so much, from the end."""

Prices = Mapping[str, tuple[float, float]]
"""By agent: US dollars for a million tokens in, and out."""


def text_of(state: object, turns: int = TURNS) -> str:
    """The words of the newest ``turns`` messages of the user, oldest first, in a text, message, sequence or mapping.

    Where no message is from a user, the newest message stands for it. A mapping without ``messages`` is read value by
    value.
    """
    if isinstance(state, str):
        return state[-MOST_CHARS:]
    if isinstance(state, BaseMessage):
        return str(state.text)[-MOST_CHARS:]
    if isinstance(state, Mapping):
        return text_of(state["messages"] if "messages" in state else list(state.values()), turns)
    if isinstance(state, Sequence):
        messages = [one for one in state if isinstance(one, BaseMessage)]
        said: Sequence[object] = [one for one in messages if isinstance(one, HumanMessage)][-turns:] or messages[-1:]
        if not messages:
            said = list(state)
        return "\n".join(filter(None, (text_of(one, turns) for one in said)))[-MOST_CHARS:]
    return "" if state is None else str(state)[-MOST_CHARS:]


def newest_id(state: object) -> str | None:
    """The id of the newest message, which a checkpoint keeps."""
    messages = state.get("messages") if isinstance(state, Mapping) else None
    newest = messages[-1] if isinstance(messages, Sequence) and messages else None
    return newest.id if isinstance(newest, BaseMessage) else None


def used(messages: Iterable[object], price: tuple[float, float] | None) -> dict[str, Any]:
    """Tokens and cost as fields of an outcome; what no message tells, or has no price, is left out: it is not free."""
    told = [one.usage_metadata for one in messages if isinstance(one, AIMessage) and one.usage_metadata]
    if not told:
        return {}
    fields: dict[str, Any] = {"tokens": sum(usage["total_tokens"] for usage in told)}
    if price is not None:
        paid = (usage["input_tokens"] * price[0] + usage["output_tokens"] * price[1] for usage in told)
        fields["cost_usd"] = sum(paid) / 1e6
    return fields
