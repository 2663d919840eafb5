"""What may be done to a text before it is tokenised: accents, and category trees as plain keywords."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from pydantic import BaseModel, ConfigDict

_ARROW = ">>"
_TREE = re.compile(r"\[([^\[\]]*>>[^\[\]]*)\]")
_EDGES = " \t\n\r\"'"


class TextPreparation(BaseModel):
    """How a text is rewritten before it is tokenised; by default it is left alone.

    Whatever is chosen becomes part of the encoder's tag, so that vectors of differently prepared texts never mix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accents: Literal["keep", "strip"] = "keep"
    """``"strip"`` turns é into e: for texts typed with and without accents, under a cased tokeniser."""
    categories: Literal["keep", "keywords"] = "keep"
    """``"keywords"`` turns ``[Electronics >> Mobile Phones >> Smartphones]`` into its names, each one once."""

    def __call__(self, text: str) -> str:
        """The text as it is tokenised."""
        if self.categories == "keywords" and _ARROW in text:
            text = _TREE.sub(lambda tree: " ".join(category_keywords(tree[1])), text)
        if self.accents == "strip" and not text.isascii():
            text = without_accents(text)
        return text


def without_accents(text: str) -> str:
    """Drop the marks that stand on letters, and compose again what has none."""
    letters = (letter for letter in unicodedata.normalize("NFD", text) if unicodedata.category(letter) != "Mn")
    return unicodedata.normalize("NFC", "".join(letters))


def category_keywords(tree: str) -> tuple[str, ...]:
    """The names in a category tree, from the widest to the narrowest; what repeats is named once.

    Example:
        >>> category_keywords('["Electronics >> Mobile Phones >> Smartphones"]')
        ('Electronics', 'Mobile Phones', 'Smartphones')
    """
    names = (name.strip(_EDGES) for name in tree.strip("[]" + _EDGES).split(_ARROW))
    kept: dict[str, str] = {}
    for name in names:
        if name:
            kept.setdefault(name.casefold(), name)
    return tuple(kept.values())
