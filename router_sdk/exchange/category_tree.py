"""Category trees as product files spell them: ``["Electronics >> Mobile Phones >> Smartphones"]``."""

from __future__ import annotations

import json
import re

_ARROW = re.compile(r"\s*>>\s*|\s+>\s+")
_QUOTED = re.compile(r"""(['"])(.*?)\1\s*[,\]]""")
_EDGES = " \t\r\n\"'"


def category_path(value: object) -> tuple[str, ...]:
    """The names in a category tree, from the widest to the narrowest.

    A tree is a text with ``>>`` or a spaced ``>`` between its names, a list of names, or either in the brackets and
    quotes of a list that was written as a text. Of several trees, the first counts.

    Example:
        >>> category_path('["Electronics >> Mobile Phones >> Smartphones"]')
        ('Electronics', 'Mobile Phones', 'Smartphones')
        >>> category_path(["Electronics", "Mobile Phones"])
        ('Electronics', 'Mobile Phones')
    """
    items = _items(value)
    names = _ARROW.split(items[0]) if items and _ARROW.search(items[0]) else items
    return tuple(plain for name in names if (plain := name.strip(_EDGES)))


def _items(value: object) -> list[str]:
    if isinstance(value, str):
        spelled = value.strip()
        return _listed(spelled) if spelled.startswith("[") else [spelled]
    if isinstance(value, list):
        inner = value[0] if value and isinstance(value[0], list) else value
        return [item for item in inner if isinstance(item, str)]
    return []


def _listed(spelled: str) -> list[str]:
    """The items of a list in JSON or in Python's spelling; a damaged one is a single item."""
    try:
        return _items(json.loads(spelled))
    except (ValueError, RecursionError):
        found = [quoted[2] for quoted in _QUOTED.finditer(spelled)]
        return found or [spelled.strip("[]" + _EDGES)]
