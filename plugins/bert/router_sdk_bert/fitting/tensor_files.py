"""Tensors with a JSON beside them, written so that a torn file is never read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import CorruptArtifactError

if TYPE_CHECKING:
    import torch


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``path.safetensors``, and then ``path.json`` with the facts and the tensors' sha256.

    The JSON comes last and by a rename, so that where it stands the tensors are whole.
    """
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    _replace(path.with_suffix(".safetensors"), content)
    record = {"sha256": hashlib.sha256(content).hexdigest(), **facts}
    _replace(path.with_suffix(".json"), json.dumps(record, indent=1, allow_nan=False).encode())


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what ``write_tensors`` wrote.

    Raises:
        CorruptArtifactError: if a file is missing, is no JSON, or does not match its checksum.
    """
    from safetensors.torch import load

    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        content = path.with_suffix(".safetensors").read_bytes()
        expected = facts.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CorruptArtifactError(f"{path.name}: {error}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptArtifactError(f"{path.name}: the tensors do not match their checksum")
    return load(content), facts


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
