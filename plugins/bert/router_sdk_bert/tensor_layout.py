"""Where a safetensors file keeps each tensor, read so that no header, however wrong, leads beside the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.json_object import parse_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U32": 4, "BOOL": 1}
"""Bytes of one number, by kind; of other kinds the size is not compared."""
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LONGEST_HEADER = 100_000_000
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


def read_tensor(path: Path, name: str) -> NDArray[np.float32] | None:
    """One tensor of a safetensors file, in single precision; None if the file has none of that name.

    Raises:
        CorruptArtifactError: if the file is not valid.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            behind = 8 + length
            layout = read_layout(file.read(min(length, _LONGEST_HEADER)), path.stat().st_size - behind)
            if name not in layout:
                return None
            found = layout[name]
            file.seek(behind + found.start)
            stored = np.frombuffer(file.read(found.end - found.start), _DTYPES[found.kind]).reshape(found.shape)
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{path.name}: {name} cannot be read ({error})") from error
    if found.kind == "BF16":
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


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
