"""A checkpoint folder whose weights are those of a model in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk_bert.encoding.checkpoint import Checkpoint
from router_sdk_bert.files import private_folder

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"


def write_checkpoint(source: Checkpoint, body: torch.nn.Module, folder: Path) -> None:
    """Write a checkpoint like another one, with other weights.

    Args:
        source: Where configuration, tokenizer and pooling come from.
        body: The transformer, without adapters.
        folder: Where it goes; made if need be.
    """
    from safetensors.torch import save_model

    private_folder(folder)
    source.copy_to(folder)
    for path in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        path.unlink()
    save_model(body, str(folder / WEIGHTS), metadata={"format": "pt"})
