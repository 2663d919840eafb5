"""What is kept of each kind of task is kept of those heard of last: a caller may give an id for a kind.

Which these are follows from the log alone, so that every process that reads it keeps the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value = TypeVar("Value")

MOST_KINDS = 1_024
"""Kinds of tasks of which anything is kept for themselves."""


def put_last(kinds: dict[str, Value], kind: str, value: Value) -> None:
    """Set what is known of a kind that was heard of just now; the one heard of longest ago makes room.

    Whoever reads meanwhile must read a copy, which is made far faster of a plain ``dict`` than of an ``OrderedDict``.
    """
    kinds.pop(kind, None)
    kinds[kind] = value
    while len(kinds) > MOST_KINDS:
        del kinds[next(iter(kinds))]


def crowded(kinds: Mapping[str, Value], heard: Iterable[str]) -> bool:
    """Whether one would have to make room while all of these are heard."""
    new = set(heard)
    return len(kinds) + len(new) > MOST_KINDS and len(kinds.keys() | new) > MOST_KINDS


def in_order(heard: Sequence[str]) -> list[str]:
    """Kinds in the order in which they were heard of last."""
    return list(dict.fromkeys(reversed(heard)))[::-1]
