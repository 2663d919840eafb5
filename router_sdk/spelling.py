"""What counts as the same spelling, where words begin and end, and how many of a noun there are.

Names are kept in Unicode's form NFC, so that one name has one spelling. Texts are kept as they came, and compared
folded: without case, without what nobody sees, in one form. The folding is Unicode's caseless matching (definitions
D145 and D146 of the standard), and the four letters i of Turkish are one: nobody knows whose capital an I is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Literal

_UNSEEN = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
    *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
"""Soft hyphens, joiners, marks of direction, variation selectors: ``Default_Ignorable_Code_Point`` of Unicode."""
_ALIKE: dict[int, str | None] = {code: None for first, last in _UNSEEN for code in range(first, last + 1)}
_ALIKE |= {0x2018: "'", 0x2019: "'", 0x2010: "-", 0x2011: "-"}  # What telephones and word processors make of ' and -.

_UNSPACED = "".join(
    rf"\U{first:08x}-\U{last:08x}"
    for first, last in (
        *((0xE01, 0xE3A), (0xE40, 0xE5B), (0xE81, 0xEFF)),  # Thai, Lao
        *((0x1000, 0x109F), (0x1780, 0x17FF)),  # Burmese and its neighbours, Khmer
        *((0x1950, 0x19FF), (0x1A20, 0x1AAF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF)),  # Tai Le to Tai Viet
        *((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),  # Hangul
        *((0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3038, 0x303B)),  # Marks among the ideographs
        *((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF)),  # Kana
        *((0x3105, 0x312F), (0x31A0, 0x31BF), (0xA000, 0xA4CF)),  # Bopomofo, Yi
        *((0x2E80, 0x2FDF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Ideographs
        *((0x1B000, 0x1B16F),),  # Older kana
    )
)
"""Scripts that put no space between words, as the inside of a character class. Hangul is among them, because Korean
writes particles onto words."""
_STACKING = "\u1039\u17d2\u1a60"
"""What stands after one of these is written under the letter before it, and belongs to it."""


_CROWD = re.compile(r"[^\w\s\x00-\x7f]{64}(?=[^\w\s\x00-\x7f])")
"""Marks and signs in a row, more than any language writes."""


def in_form(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """A text in one of Unicode's forms; of a row of marks and signs without end, 64 are put in order at a time."""
    ends = [found.end() for found in _CROWD.finditer(text)] if len(text) > 64 else []
    if not ends:
        return unicodedata.normalize(form, text)
    return "".join(unicodedata.normalize(form, text[start:end]) for start, end in pairwise((0, *ends, len(text))))


def normal(name: str) -> str:
    """A name in the form in which names are kept, NFC: the same for every way to compose its letters."""
    return name if name.isascii() else in_form("NFC", name)


def folded(text: str, *, compatible: bool = True) -> str:
    """A text as it is compared: without case, with one space where there is white space, in one Unicode form.

    Args:
        text: Any.
        compatible: Whether characters that are only written otherwise are alike too, such as full-width letters (NFKC).
    """
    if text.isascii():
        return " ".join(text.lower().split())
    apart = in_form("NFKD" if compatible else "NFD", text.translate(_ALIKE)).casefold()
    apart = apart.replace("\u0131", "i").replace("i\u0307", "i")
    return " ".join(in_form("NFKC" if compatible else "NFC", apart).split())


def words(text: str) -> list[str]:
    """The words of a folded text; where a script puts no spaces between them, each two characters side by side."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    found: list[str] = []
    for spaced, unspaced in _word_pattern().findall(text):
        found += [spaced] if spaced else _pairs(unspaced)
    return found


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each of a text's ``words`` begins and ends; it need not be folded."""
    if text.isascii():
        return [found.span() for found in _ASCII_WORD.finditer(text)]
    spans: list[tuple[int, int]] = []
    for found in _word_pattern().finditer(text):
        start, end = found.span()
        spans += [(start, end)] if found[1] else [(at, at + 2) for at in range(start, end - 1)] or [(start, end)]
    return spans


def unspaced_pairs(text: str) -> list[str]:
    """Each two characters side by side in those parts of a text whose script puts no spaces between words."""
    return [] if text.isascii() else [pair for run in _UNSPACED_RUN.findall(text) for pair in _pairs(run)]


def _pairs(run: str) -> list[str]:
    """Overlapping pairs of characters; a single one stands for itself."""
    return [run[place : place + 2] for place in range(len(run) - 1)] or [run]


def counted(count: int, noun: str) -> str:
    """``1 decision``, ``2 decisions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def nearest(name: str, known: Iterable[str], *, at_least: float = 0.6) -> str | None:
    """Which known name was probably meant; None where none is like it.

    Args:
        name: What was given.
        known: The names there are.
        at_least: How alike the two have to be, in [0, 1], as ``difflib`` measures it.
    """
    plain = {one.lower().replace("-", "_"): one for one in sorted(known, reverse=True)}
    near = get_close_matches(name[:_LONGEST_NAME].lower().replace("-", "_"), plain, 1, at_least)
    return plain[near[0]] if near else None


def phrase_pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """Find one of some folded phrases in a folded text, where it is made of whole words, the longest first.

    A word ends where no letter, digit, underscore or combining mark follows, and where the script changes to one that
    has no spaces. In such a script a phrase is found anywhere, but never in the middle of a character with its marks. A
    phrase that begins or ends with a sign, such as ``c++``, may stand next to anything there.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        groups.setdefault((_before(phrase[0]), _after(phrase[-1])), []).append(re.escape(phrase))
    return re.compile("|".join(f"{before}(?:{'|'.join(same)}){after}" for (before, after), same in groups.items()))


def _before(first: str) -> str:
    if _UNSPACED_RUN.match(first):
        return f"(?<![{_STACKING}])"
    return rf"(?<![^\W{_UNSPACED}])(?<![{_marks(unspaced=False)}])" if first.isalnum() or first == "_" else ""


def _after(last: str) -> str:
    follows = rf"(?![{_marks(unspaced=True)}])"
    spaced = (last.isalnum() or last == "_" or unicodedata.category(last)[0] == "M") and not _UNSPACED_RUN.match(last)
    return rf"(?![^\W{_UNSPACED}]){follows}" if spaced else follows


@cache
def _marks(*, unspaced: bool) -> str:
    """Combining marks as the inside of a character class, with those of scripts without spaces or not."""
    codes = (code for code in (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0)) if not 0xD800 <= code < 0xE000)
    marks = [code for code in codes if unicodedata.category(chr(code))[0] == "M"]
    if not unspaced:
        marks = [code for code in marks if not _UNSPACED_RUN.match(chr(code))]
    known = set(marks)
    starts = [code for code in marks if code - 1 not in known]
    ends = [code for code in marks if code + 1 not in known]
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in zip(starts, ends, strict=True))


@cache
def _word_pattern() -> re.Pattern[str]:
    return re.compile(rf"((?:[^\W{_UNSPACED}]|[{_marks(unspaced=False)}])+)|([{_UNSPACED}]+)")


_LONGEST_NAME = 200
"""Of a name that is compared with others, in characters: what comparing takes grows with the product of both."""
_ASCII_WORD = re.compile(r"\w+")
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
