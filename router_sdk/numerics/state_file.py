"""Arrays on disk: one safetensors file and one of JSON that holds its checksum. Nothing is unpickled.

The format is short enough to be written here, so that serving does not need the ``safetensors`` package, and is read so
that no header, however wrong, leads beside the data.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from router_sdk.errors import CorruptArtifactError
from router_sdk.private_files import parse_object, private_folder, read_object, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import DTypeLike, NDArray

KINDS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "BOOL": np.dtype("?"),
}
"""What a state is made of, by the format's names."""
_KIND_OF = {dtype: kind for kind, dtype in KINDS.items()}
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U32": 4, "BOOL": 1}
"""Bytes of one number, by kind; of other kinds the size is not compared."""
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LONGEST_HEADER = 100_000_000
_MOST_AXES = 8
_METADATA = "__metadata__"


def write_state(folder: Path, stem: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write ``stem.safetensors`` and ``stem.json``; only the owner may read them.

    Raises:
        ValueError: if a number is not finite: what is written can be read.
    """
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        check_finite(name, array)
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


def load_state(folder: Path, stem: str, restore: Callable[[dict[str, NDArray[Any]], dict[str, Any]], None]) -> None:
    """Read what ``write_state`` wrote, and hand it over.

    Args:
        folder: Where it stands.
        stem: What its files' names begin with.
        restore: Takes arrays and facts; raises ``KeyError``, ``TypeError`` or ``ValueError`` where they do not fit.

    Raises:
        CorruptArtifactError: if a file is missing, or is not what was written, or does not fit.
    """
    arrays, facts = read_state(folder, stem)
    try:
        restore(arrays, facts)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(f"{stem} is malformed: {type(error).__name__}: {error}") from error


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    start = 8 + int.from_bytes(content[:8], "little")
    layout = read_layout(content[8:start], len(content) - start)
    return {
        name: np.frombuffer(content[start + one.start : start + one.end], KINDS[one.kind]).reshape(one.shape).copy()
        for name, one in layout.items()
    }


def check_finite(name: str, array: NDArray[Any]) -> None:
    """See that every number is one.

    Raises:
        ValueError: if one is not finite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite")


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
    check_finite(name, found)
    if found.size and not within[0] <= found.min() <= found.max() <= within[1]:
        raise ValueError(f"{name} holds a number out of range")
    return found


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
    return next((tensor.astype(np.float32) for _, tensor in float_tensors(path, only=name)), None)


def float_tensors(path: Path, *, only: str | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """The tensors of a safetensors file that hold floating-point numbers, one at a time.

    Args:
        path: The file.
        only: Name of the one that is wanted, which must then hold such numbers.

    Raises:
        CorruptArtifactError: if the file is not valid.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            behind = 8 + length
            layout = read_layout(file.read(min(length, _LONGEST_HEADER)), path.stat().st_size - behind)
            for name, found in layout.items():
                if name != only if only is not None else found.kind not in _FLOATS:
                    continue
                file.seek(behind + found.start)
                content = file.read(found.end - found.start)
                stored = np.frombuffer(content, _FLOATS[found.kind]).reshape(found.shape)
                yield name, (stored.astype(np.uint32) << 16).view(np.float32) if found.kind == "BF16" else stored
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{path.name}: {only or name} cannot be read ({error})") from error


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
