"""What pydantic finds wrong, in words that say which key, where, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from router_sdk.spelling import nearest

UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""Kinds of fault that are a key which there is not."""

_SHOULD = re.compile(r"^[A-Z]\w+ should ")
_PYTHONS = re.compile("a valid (?:tuple|set|frozenset|list)")
_SHOWN = 12


def fault_words(fault: Mapping[str, Any], models: Iterable[type[BaseModel]]) -> str:
    """What is wrong with one field, without its place and without what was given.

    Args:
        fault: One of ``ValidationError.errors()``.
        models: What was validated; ``models_called`` finds it by the error's title.
    """
    if fault["type"] in UNKNOWN:
        known = known_keys(models, fault["loc"][:-1])
        near = nearest(str(fault["loc"][-1]), known)
        if near is not None:
            return f"there is no such key; did you mean {near!r}?"
        return "there is no such key" + (f"; there are {', '.join(known)}" if 0 < len(known) <= _SHOWN else "")
    if fault["type"] in ("missing", "missing_argument"):
        return "must be given"
    words = _SHOULD.sub("must ", str(fault["msg"]).removeprefix("Value error, "))
    return _PYTHONS.sub("a list", words).replace("a valid dictionary", "a mapping of keys to values")


@lru_cache(maxsize=256)
def models_called(title: str) -> tuple[type[BaseModel], ...]:
    """Models by the title of their errors: pydantic's error names its model, and does not hold it."""
    return tuple(model for model in _below(BaseModel) if model.__name__ == title)


def known_keys(models: Iterable[type[BaseModel]], place: Sequence[int | str]) -> list[str]:
    """The keys that there are at a place inside of what was validated, sorted.

    What of the place is no field, such as a position in a list, a key of a mapping or which of several types was
    tried, is passed over.
    """
    here = set(models)
    for part in place:
        fields = [model.model_fields[part] for model in here if part in model.model_fields]
        if fields:
            here = {inside for field in fields for inside in models_in(field.annotation)}
    return sorted({name for model in here for name in model.model_fields})


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of, such as the parts of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from models_in(inside)


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)
