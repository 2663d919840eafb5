"""Regular expressions, written by the user or made of keywords."""

from __future__ import annotations

import re
from collections.abc import Sequence


def parse_regex(pattern: str) -> re.Pattern[str]:
    """Compile what a user wrote.

    Raises:
        ValueError: if it is no regular expression; says where it goes wrong.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None


def keyword_pattern(keywords: Sequence[str]) -> re.Pattern[str]:
    """Match one of the keywords as whole words, in any case and with any white space within a phrase."""
    phrases = [r"\s+".join(map(re.escape, keyword.split())) for keyword in sorted(keywords, key=len, reverse=True)]
    if not all(phrases):
        raise ValueError("a keyword is blank")
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)
