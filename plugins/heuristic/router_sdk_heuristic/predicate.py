"""Conditions on a task's features, such as ``mape > 15 and region == "EU"``. Parsed, never evaluated as code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import normal

if TYPE_CHECKING:
    from router_sdk.plugin import FeatureValue

Value = bool | float | str

_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"==": operator.eq, "!=": operator.ne, **_ORDERED}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"[^"]*"|'[^']*')
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
      | (?P<operator>==|!=|<=|>=|<|>)
      | (?P<word>[^\W\d](?:[\w.\-]*\w)?)
    )""",
    re.VERBOSE,
)
_BOOLEANS = {"true": True, "false": False}
_Token = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature against one value.

    A feature that is missing makes it false. Kinds are kept apart: a number never equals a boolean or a text,
    and ``!=`` holds between different kinds.
    """

    feature: str
    operator: str
    value: Value

    def holds(self, features: Mapping[str, FeatureValue]) -> bool:
        """Whether these features satisfy it."""
        found = features.get(self.feature)
        if found is None:
            return False
        if _kind(found) is not _kind(self.value):
            return self.operator == "!="
        return _OPERATORS[self.operator](normal(found) if isinstance(found, str) else found, self.value)


@dataclass(frozen=True, slots=True)
class Predicate:
    """Comparisons that must all hold."""

    comparisons: tuple[Comparison, ...]

    def holds(self, features: Mapping[str, FeatureValue]) -> bool:
        """Whether these features satisfy every comparison."""
        return all(comparison.holds(features) for comparison in self.comparisons)


def parse_predicate(text: str) -> Predicate:
    """Read ``name operator value``, joined by ``and``.

    Operators are ``== != < <= > >=``; values are numbers, ``true``, ``false`` and quoted texts. Names and texts are
    compared in Unicode's form NFC.

    Raises:
        ValueError: if it cannot be read; says where.
    """
    tokens = _tokens(normal(text))
    comparisons = []
    for start in range(0, max(len(tokens), 1), 4):
        comparisons.append(_comparison(text, tokens[start : start + 3]))
        joint = tokens[start + 3 : start + 4]
        if joint and (joint[0][1].lower() != "and" or start + 4 == len(tokens)):
            raise ValueError(f"{text!r}: expected 'and' with another comparison after it, found {joint[0][1]!r}")
    return Predicate(tuple(comparisons))


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or match.lastgroup is None:
            rest = stripped[position:].lstrip()
            hint = "; did you mean '=='?" if rest.startswith("=") else ""
            raise ValueError(f"{text!r}: cannot read {rest[:20]!r}{hint}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _comparison(text: str, tokens: list[_Token]) -> Comparison:
    if [kind for kind, _ in tokens[:2]] != ["word", "operator"] or len(tokens) < 3:
        given = " ".join(word for _, word in tokens) or "nothing"
        raise ValueError(f"{text!r}: expected 'name operator value', such as 'mape > 15', found {given!r}")
    (_, feature), (_, symbol), literal = tokens
    value = _value(text, literal)
    if symbol in _ORDERED and not isinstance(value, float):
        raise ValueError(f"{text!r}: {symbol!r} compares numbers only, {literal[1]} is none")
    return Comparison(feature, symbol, value)


def _value(text: str, token: _Token) -> Value:
    kind, word = token
    if kind == "number":
        return float(word)
    if kind == "string":
        return word[1:-1]
    if word.lower() in _BOOLEANS:
        return _BOOLEANS[word.lower()]
    raise ValueError(f"{text!r}: {word!r} is no value; use a number, true, false, or a text in quotes")


def _kind(value: object) -> type:
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float
