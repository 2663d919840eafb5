"""Regular expressions, written by the user or made of keywords."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from router_sdk.plugin import folded, normal, phrase_pattern


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
