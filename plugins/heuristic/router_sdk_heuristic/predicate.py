"""What a rule asks: conditions on features, such as ``mape > 15 and region == "EU"``, and regular expressions on texts.

Parsed, never evaluated as code.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import folded, normal, phrase_pattern

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


class Regex:
    """A user's regular expression, found in a text as it stands, or where both are in Unicode's form NFC.

    Raises:
        ValueError: if it is no regular expression; says where it goes wrong.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._as_written = re.compile(pattern)
            self._composed = re.compile(normal(pattern))
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None

    def stands_in(self, text: str) -> bool:
        """Whether it matches somewhere."""
        if self._as_written.search(text):
            return True
        return not text.isascii() and self._composed.search(normal(text)) is not None


class Keywords:
    """Words and phrases, of which one must stand in a text as whole words.

    Case, Unicode form, the kind of white space and what nobody sees make no difference, see ``folded``. In scripts
    without spaces between words, a keyword is found anywhere; words of other scripts end where such a script begins.

    Raises:
        ValueError: if one is blank.
    """

    def __init__(self, keywords: Sequence[str]) -> None:
        self._written = {form: keyword for keyword in keywords for form in _forms(keyword)}
        if "" in self._written:
            raise ValueError("a keyword is blank")
        self._pattern = phrase_pattern(self._written)

    def found_in(self, text: str) -> str | None:
        """The keyword that stands in a text, as it was written; None where none does."""
        for form in _forms(text):
            if found := self._pattern.search(form):
                return self._written[found[0]]
        return None


@lru_cache(maxsize=4)
def _forms(text: str) -> tuple[str, ...]:
    """A text as it is compared: folded, and where that makes a difference, with each character as it was written.

    In the first, full-width letters are like others; in the second, ``™`` is a sign and not the letters ``tm``. Many
    rules ask for the same text, one after the other.
    """
    alike = folded(text)
    if text.isascii():
        return (alike,)
    written = folded(text, compatible=False)
    return (alike,) if written == alike else (alike, written)
