"""The log's statements in PostgreSQL's words, see ``router_sdk.engine``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_LISTED = re.compile(r"\b(\w+)( NOT)? IN \(SELECT value FROM json_each\((\?\d*)\)")
_NULL_SAFE = re.compile(r"\bIS (NOT )?(?=\?|:\w|\w+\.\w)")
_MARK = re.compile(r"'(?:[^']|'')*'|\?(\d*)|(?<![:\w]):([a-z_]\w*)")
_WHOLE = re.compile(r"(?:\w+_)?seq|set_id")
_FREE_TEXT = re.compile(r"\*(?! ?\))|\b(?:names|text|session_id|response|feedback_text|error|body|reason)\b")
"""Columns in which a text may hold a character that PostgreSQL refuses, see ``values``; JSON spells it otherwise."""
_ASKED = re.compile(r"\b\w+ IS (?:NOT )?NULL\b")


_DECISION, _BEFORE = " JOIN decisions d ON d.decision_id = o.decision_id", "d.seq < o.seq"
_NEWEST = """ JOIN LATERAL (SELECT * FROM decisions x WHERE x.decision_id = o.decision_id AND x.seq < o.seq
                           ORDER BY x.seq DESC LIMIT 1) d ON true"""
"""Where the table is cut by position: back from the outcome's partition until the decision is found, and no further."""


class Statement(NamedTuple):
    """One statement.

    Attributes:
        text: With ``$1`` for values.
        names: Of the values, where they are given by name.
        free_text: Whether it reads texts that people wrote.
    """

    text: str
    names: tuple[str, ...]
    free_text: bool


@lru_cache(maxsize=1_024)
def translate(query: str, cut: bool = False) -> Statement:
    """A statement in PostgreSQL's words, for tables that are cut into partitions or not."""
    if cut and _BEFORE in query:
        query = query.replace(_DECISION, _NEWEST)
    text = _LISTED.sub(_listed, query).replace("instr(", "strpos(")
    text = _NULL_SAFE.sub(lambda found: "IS DISTINCT FROM " if found[1] else "IS NOT DISTINCT FROM ", text)
    names: dict[str, int] = {}
    count = 0

    def mark(found: re.Match[str]) -> str:
        nonlocal count
        if found[2]:
            return f"${names.setdefault(found[2], len(names) + 1)}"
        if found[1] is None:
            return found[0]  # a text
        count += 1
        return f"${found[1] or count}"

    text = _MARK.sub(mark, text)
    return Statement(text, tuple(names), _FREE_TEXT.search(_ASKED.sub("", query)) is not None)


def _listed(found: re.Match[str]) -> str:
    column, negated, mark = found[1], found[2] or "", found[3]
    kind = "bigint" if _WHOLE.fullmatch(column) else "text"
    return f"{column}{negated} IN (SELECT value::{kind} FROM json_array_elements_text({mark}::json)"
