"""A checkpoint as a torch model with its pooling: what is exported, fine-tuned, and compared against."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.checkpoint import HEADS, Checkpoint, read_checkpoint
from router_sdk_bert.encoding.settings import Pooling

if TYPE_CHECKING:
    import torch


class EncoderModule:
    """A transformer and its pooling.

    Attributes:
        model: What ``transformers`` loaded; a classifier without its last linear layer. Exchange it freely, for
            instance for one with adapters.
        pooling: How token vectors become one.
        pad_id: Token that fills up shorter texts in a batch.
    """

    def __init__(self, model: torch.nn.Module, pooling: Pooling, pad_id: int) -> None:
        self.model, self.pooling, self.pad_id = model, pooling, pad_id

    def pool(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors as the model makes them, not normalised, shape ``(n, d)``.

        Args:
            input_ids: Shape ``(n, t)``.
            attention_mask: 1 for tokens, 0 for padding, shape ``(n, t)``; None where nothing is padded.
        """
        found: Any = self.model(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "classifier":
            vectors: torch.Tensor = found.logits
            return vectors
        hidden: torch.Tensor = found.last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        if attention_mask is None:
            return hidden.mean(1)
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * kept).sum(1) / kept.sum(1)

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The same, normalised in single precision."""
        import torch

        return torch.nn.functional.normalize(self.pool(input_ids, attention_mask).float(), dim=1)


def load_module(folder: Path, pooling: Pooling | None = None, *, attention: str | None = None) -> EncoderModule:
    """Load a checkpoint, or the checkpoint in an exported encoder's folder, in single precision and in eval mode.

    Only safetensors are read; code that comes with the weights is never run.

    Args:
        folder: Where it stands.
        pooling: None takes the model's own.
        attention: Implementation of attention; None lets the library choose.

    Raises:
        EncoderUnavailableError: if torch or transformers is not installed, or the model cannot be loaded.
        CorruptArtifactError: if the folder carries a manifest and a file does not match.
    """
    checkpoint = read_checkpoint(folder)
    pooling = checkpoint.pooling if pooling is None else pooling
    try:
        from transformers import AutoModel, AutoModelForSequenceClassification
    except ImportError as error:
        raise EncoderUnavailableError("this needs torch: pip install 'router-sdk-bert[fit]'") from error
    kind = AutoModelForSequenceClassification if pooling == "classifier" else AutoModel
    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        with _quietly():
            model: Any = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, **chosen
            )
    except Exception as error:  # What the library raises depends on what is wrong with the files.
        raise EncoderUnavailableError(f"{folder} cannot be loaded: {error}") from error
    if pooling == "classifier":
        _behead(model, checkpoint)
    return EncoderModule(model.float().eval(), pooling, checkpoint.pad_id)


def _behead(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put nothing in the place of the last linear layer: then the "logits" are what that layer saw."""
    import torch

    for name in HEADS:
        parent, _, leaf = name.rpartition(".")
        try:
            owner = model.get_submodule(parent)
            found = owner.get_submodule(leaf)
        except AttributeError:
            continue
        if isinstance(found, torch.nn.Linear):
            setattr(owner, leaf, torch.nn.Identity())
            return
    raise EncoderUnavailableError(f"{checkpoint.folder}: {checkpoint.architecture} keeps its head where none is known")


@contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars, and no reports on heads that are left out on purpose."""
    from transformers.utils import logging

    reports: Any = logging
    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()
