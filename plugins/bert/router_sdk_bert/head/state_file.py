"""Arrays on disk: one safetensors file and one of JSON that holds its checksum. Nothing is unpickled.

The format is short enough to be written here, so that serving does not need the ``safetensors`` package.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.files import private_folder, write_private
from router_sdk_bert.json_object import read_object
from router_sdk_bert.tensor_layout import read_layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

KINDS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "BOOL": np.dtype("?"),
}
_KIND_OF = {dtype: kind for kind, dtype in KINDS.items()}


def write_state(folder: Path, stem: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write ``stem.safetensors`` and ``stem.json``; only the owner may read them.

    Raises:
        ValueError: if a number is not finite: what is written can be read.
    """
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a number that is not finite")
        chunk = np.ascontiguousarray(array).tobytes()
        kind = _KIND_OF[array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    content = b"".join([len(head).to_bytes(8, "little"), head, *chunks])
    private_folder(folder)
    write_private(folder / f"{stem}.safetensors", content)
    told = {"sha256": hashlib.sha256(content).hexdigest(), "facts": facts}
    write_private(folder / f"{stem}.json", json.dumps(told, ensure_ascii=False, allow_nan=False).encode())


def read_state(folder: Path, stem: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what ``write_state`` wrote.

    Raises:
        CorruptArtifactError: if a file is missing or not what was written.
    """
    try:
        told = read_object(folder / f"{stem}.json")
        content = (folder / f"{stem}.safetensors").read_bytes()
        facts, expected = told["facts"], told["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{stem} cannot be read: {type(error).__name__}") from error
    if not isinstance(facts, dict):
        raise CorruptArtifactError(f"{stem} cannot be read: its facts are none")
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptArtifactError(f"{stem}.safetensors does not match its checksum")
    try:
        return _arrays(content), facts
    except (ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{stem}.safetensors is malformed: {error}") from error


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    start = 8 + int.from_bytes(content[:8], "little")
    layout = read_layout(content[8:start], len(content) - start)
    return {
        name: np.frombuffer(content[start + one.start : start + one.end], KINDS[one.kind]).reshape(one.shape).copy()
        for name, one in layout.items()
    }


def array_of(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    kind: DTypeLike,
    shape: tuple[int | None, ...],
    within: tuple[float, float] = (-math.inf, math.inf),
) -> NDArray[Any]:
    """One array, of finite numbers.

    Args:
        arrays: What was read.
        name: Which of them.
        kind: Its numbers' type.
        shape: Its axes; None fits any length.
        within: The least and the most that a number may be.

    Raises:
        KeyError: if there is none of that name.
        ValueError: if it is of another type or shape, or a number is not finite, or out of range.
    """
    found = arrays[name]
    fits = len(shape) == found.ndim and all(
        want is None or want == have for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype != np.dtype(kind):
        raise ValueError(f"{name} is of type {found.dtype} and shape {found.shape}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{name} holds a number that is not finite")
    if found.size and not within[0] <= found.min() <= found.max() <= within[1]:
        raise ValueError(f"{name} holds a number out of range")
    return found
