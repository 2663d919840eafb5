"""Arrays on disk: one safetensors file and one of JSON that holds its checksum. Nothing is unpickled.

The format is short enough to be written here, so that serving does not need the ``safetensors`` package.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

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
    """Write ``stem.safetensors`` and ``stem.json``."""
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        chunk = np.ascontiguousarray(array).tobytes()
        kind = _KIND_OF[array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    content = b"".join([len(head).to_bytes(8, "little"), head, *chunks])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.safetensors").write_bytes(content)
    told = {"sha256": hashlib.sha256(content).hexdigest(), "facts": facts}
    (folder / f"{stem}.json").write_text(json.dumps(told, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def read_state(folder: Path, stem: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what ``write_state`` wrote.

    Raises:
        CorruptArtifactError: if a file is missing or not what was written.
    """
    try:
        told = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        content = (folder / f"{stem}.safetensors").read_bytes()
        facts, expected = dict(told["facts"]), told["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{stem} cannot be read: {type(error).__name__}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptArtifactError(f"{stem}.safetensors does not match its checksum")
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        arrays = {}
        for name, entry in json.loads(content[8:start]).items():
            low, high = entry["data_offsets"]
            data = np.frombuffer(content[start + low : start + high], dtype=KINDS[entry["dtype"]])
            arrays[name] = data.reshape(entry["shape"]).copy()
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{stem}.safetensors is malformed: {type(error).__name__}") from error
    return arrays, facts
