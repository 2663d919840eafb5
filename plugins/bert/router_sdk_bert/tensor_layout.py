"""Where a safetensors file keeps each tensor, read so that no header, however wrong, leads beside the data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from router_sdk_bert.json_object import parse_object

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U32": 4, "BOOL": 1}
"""Bytes of one number, by kind; of other kinds the size is not compared."""
_MOST_AXES = 8
_METADATA = "__metadata__"


class Stored(NamedTuple):
    """One tensor.

    Attributes:
        kind: The format's name of its numbers, such as ``F32``.
        shape: Its axes.
        start: Its first byte, counted from behind the header.
        end: The byte behind its last.
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_layout(header: bytes, room: int) -> dict[str, Stored]:
    """The tensors that a header names.

    Args:
        header: JSON.
        room: Bytes behind the header.

    Raises:
        ValueError: if a tensor does not lie within these, or has not the size of its shape.
    """
    entries = parse_object(header)
    entries.pop(_METADATA, None)
    return {name: _stored(name, entry, room) for name, entry in entries.items()}


def _stored(name: str, entry: Any, room: int) -> Stored:
    try:
        kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is not described as a tensor is") from error
    numbers = (*shape, start, end)
    if not isinstance(kind, str) or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{name} is not described as a tensor is")
    if not start <= end <= room:
        raise ValueError(f"{name} does not lie within the file")
    if kind in ITEM_BYTES and end - start != ITEM_BYTES[kind] * math.prod(shape):
        raise ValueError(f"{name} has not the size of its shape")
    return Stored(kind, shape, start, end)
