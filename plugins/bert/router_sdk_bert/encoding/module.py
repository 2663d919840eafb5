"""A checkpoint as a torch model with its pooling: what is exported, fine-tuned, and compared against."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.checkpoint import HEADS, Checkpoint, read_checkpoint
from router_sdk_bert.encoding.layers import load_layers
from router_sdk_bert.encoding.pipeline import Pipeline
from router_sdk_bert.encoding.pooling import pool_tokens
from router_sdk_bert.encoding.preparation import TextPreparation
from router_sdk_bert.encoding.settings import Pooling, PoolingMode
from router_sdk_bert.encoding.tokenizer import TextTokens

if TYPE_CHECKING:
    import torch


class EncoderModule:
    """A transformer, its pooling, and what comes behind that.

    Args:
        model: What ``transformers`` loaded; a classifier without its last linear layer.
        pooling: How token vectors become one.
        pad_id: Token that fills up shorter texts in a batch.
        pipeline: What comes behind the pooling.
        layers: Its steps; they are not trained.
        skipped: Tokens at the beginning that are not pooled.

    Attributes:
        model: Exchange it freely, for instance for one with adapters.
        pooling: As given; so are ``pad_id``, ``pipeline``, ``layers`` and ``skipped``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        pooling: Pooling,
        pad_id: int,
        pipeline: Pipeline,
        layers: torch.nn.Module,
        skipped: int = 0,
    ) -> None:
        self.model, self.pooling, self.pad_id = model, pooling, pad_id
        self.pipeline, self.layers, self.skipped = pipeline, layers, skipped

    @property
    def _packs(self) -> bool:
        """Without a cache and a mask, decoders look for several texts in one row, by what cannot be traced."""
        return getattr(getattr(self.model, "config", None), "use_cache", None) is False

    @property
    def modes(self) -> tuple[PoolingMode, ...]:
        """The poolings whose vectors are put beside each other; none of a classifier."""
        return () if self.pooling == "classifier" else cast("tuple[PoolingMode, ...]", tuple(self.pooling.split("+")))

    def to(self, device: str, dtype: torch.dtype | None = None) -> None:
        """Move it to a device; what comes behind the pooling stays in single precision."""
        self.model.to(device, dtype=dtype)
        self.layers.to(device)

    def pool(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors as the model makes them, not normalised, shape ``(n, d)``.

        Args:
            input_ids: Shape ``(n, t)``.
            attention_mask: 1 for tokens, 0 for padding, shape ``(n, t)``; None where nothing is padded.
        """
        import torch

        seen = attention_mask
        if seen is None and self._packs:
            seen = torch.ones_like(input_ids)
        found: Any = self.model(input_ids=input_ids, attention_mask=seen)
        if self.pooling == "classifier":
            vectors: torch.Tensor = found.logits
            return vectors
        pooled = pool_tokens(found.last_hidden_state, attention_mask, self.modes, self.skipped)
        if self.pipeline.steps:
            pooled = self.layers(pooled.float())
        return pooled[:, : self.pipeline.dimension]

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The same, normalised in single precision."""
        import torch

        return torch.nn.functional.normalize(self.pool(input_ids, attention_mask).float(), dim=1)


def load_module(folder: Path, pooling: Pooling | None = None, *, attention: str | None = None) -> EncoderModule:
    """Load a checkpoint, or the checkpoint in an exported encoder's folder, in single precision and in eval mode.

    Only safetensors are read; code that comes with the weights is never run. Of an encoder and decoder the encoder is
    loaded.

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
        import transformers
    except ImportError as error:
        raise EncoderUnavailableError("this needs torch: pip install 'router-sdk-bert[fit]'") from error
    kind: Any = transformers.AutoModel
    if pooling == "classifier":
        kind = transformers.AutoModelForSequenceClassification
    elif checkpoint.config.get("is_encoder_decoder") is True or checkpoint.architecture.endswith("EncoderModel"):
        kind = transformers.AutoModelForTextEncoding
    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        with quietly():
            model: Any = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, **chosen
            )
    except Exception as error:  # What the library raises depends on what is wrong with the files.
        raise EncoderUnavailableError(f"{folder} cannot be loaded: {error}") from error
    if pooling == "classifier":
        _behead(model, checkpoint)
    pipeline = checkpoint.pipeline
    skipped = 0 if pipeline.include_prompt or not pipeline.prompt else _prompt_tokens(checkpoint)
    layers = load_layers(folder, pipeline)
    return EncoderModule(model.float().eval(), pooling, checkpoint.pad_id, pipeline, layers, skipped)


def _prompt_tokens(checkpoint: Checkpoint) -> int:
    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        raise EncoderUnavailableError(f"{checkpoint.folder} has no tokenizer.json, by which its prompt is left out")
    return TextTokens(path.read_bytes(), checkpoint.longest, TextPreparation(), checkpoint.pipeline.prompt).skipped


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
def quietly() -> Iterator[None]:
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
