"""Tensors with a JSON beside them, written so that a torn file is never read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import CorruptArtifactError
from router_sdk.private_files import private_folder, read_object, write_private

if TYPE_CHECKING:
    import torch


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``path.safetensors``, and then ``path.json`` with the facts and the tensors' sha256.

    The JSON comes last and by a rename, so that where it stands the tensors are whole.
    """
    from safetensors.torch import save

    private_folder(path.parent)
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    write_private(path.with_suffix(".safetensors"), content, durably=True)
    record = {"sha256": hashlib.sha256(content).hexdigest(), **facts}
    write_private(path.with_suffix(".json"), json.dumps(record, indent=1, allow_nan=False).encode(), durably=True)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what ``write_tensors`` wrote.

    Raises:
        CorruptArtifactError: if a file is missing, is not what it should be, or does not match its checksum.
    """
    from safetensors.torch import load

    try:
        facts = read_object(path.with_suffix(".json"))
        content = path.with_suffix(".safetensors").read_bytes()
        expected = facts.pop("sha256")
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifactError(f"{path.name}: {error}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CorruptArtifactError(f"{path.name}: the tensors do not match their checksum")
    try:
        return load(content), facts
    except Exception as error:  # The library's own exception shares no base with others.
        raise CorruptArtifactError(f"{path.name}: the tensors cannot be read: {error}") from error
