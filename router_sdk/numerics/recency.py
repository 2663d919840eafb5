"""What is kept of each kind of task is kept of those heard of last: a caller may give an id for a kind.

Which these are follows from the log alone, so that every process that reads it keeps the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Iterable, Sequence

Value = TypeVar("Value")

MOST_KINDS = 1_024
"""Kinds of tasks of which anything is kept for themselves."""


def put_last(kinds: OrderedDict[str, Value], kind: str, value: Value) -> None:
    """Set what is known of a kind that was heard of just now; the one heard of longest ago makes room."""
    kinds[kind] = value
    kinds.move_to_end(kind)
    while len(kinds) > MOST_KINDS:
        kinds.popitem(last=False)


def crowded(kinds: OrderedDict[str, Value], heard: Iterable[str]) -> bool:
    """Whether one would have to make room while all of these are heard."""
    new = set(heard)
    return len(kinds) + len(new) > MOST_KINDS and len(kinds.keys() | new) > MOST_KINDS


def in_order(heard: Sequence[str]) -> list[str]:
    """Kinds in the order in which they were heard of last."""
    return list(dict.fromkeys(reversed(heard)))[::-1]
