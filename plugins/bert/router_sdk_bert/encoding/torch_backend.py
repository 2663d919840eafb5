"""A checkpoint in torch, with its pooling: what is exported, fine-tuned and compared against, and can serve."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from router_sdk.numerics.state_file import read_tensor
from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.config import Pooling, PoolingMode, Precision, TextPreparation
from router_sdk_bert.encoding.checkpoint import HEADS, Checkpoint, read_checkpoint
from router_sdk_bert.encoding.pipeline import WEIGHTS, Dense, Pipeline
from router_sdk_bert.encoding.tokenizer import TextTokens, padded

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_BATCH = 64


def pool_tokens(
    hidden: torch.Tensor, attention_mask: torch.Tensor | None, modes: Sequence[PoolingMode], skipped: int = 0
) -> torch.Tensor:
    """One vector per text, shape ``(n, d * len(modes))``.

    Args:
        hidden: Shape ``(n, t, d)``.
        attention_mask: 1 for tokens, 0 for padding, which stands on the right; shape ``(n, t)``; None where nothing is
            padded.
        modes: In the order in which they are put beside each other.
        skipped: Tokens at the beginning that are not pooled: a prompt's.
    """
    import torch

    if skipped:
        hidden = hidden[:, skipped:]
        attention_mask = None if attention_mask is None else attention_mask[:, skipped:]
    found = [_pool(hidden, attention_mask, mode, skipped) for mode in modes]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def _pool(hidden: torch.Tensor, attention_mask: torch.Tensor | None, mode: PoolingMode, skipped: int) -> torch.Tensor:
    import torch

    if mode == "cls":
        return hidden[:, 0]
    if attention_mask is None:
        if mode == "mean":
            return hidden.mean(1)
        if mode == "max":
            return hidden.max(1).values
        if mode == "lasttoken":
            return hidden[:, -1]
        kept = torch.ones_like(hidden[..., :1])
    else:
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if mode == "mean":
            return (hidden * kept).sum(1) / kept.sum(1)
        if mode == "max":
            return hidden.masked_fill(kept == 0, float("-inf")).max(1).values
        if mode == "lasttoken":
            last = attention_mask.sum(1) - 1
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
    if mode == "mean_sqrt_len_tokens":
        return (hidden * kept).sum(1) / kept.sum(1).sqrt()
    weights = kept * (kept.cumsum(1) + skipped)  # The prompt's tokens keep their places, pooled or not.
    return (hidden * weights).sum(1) / weights.sum(1)


def load_layers(folder: Path, pipeline: Pipeline) -> torch.nn.Module:
    """The steps behind the pooling as one module, in single precision, that does not train.

    Args:
        folder: Checkpoint in whose folders their weights lie.
        pipeline: Names them.

    Raises:
        EncoderUnavailableError: if a layer's weights are not there.
        CorruptArtifactError: if a file is not valid.
    """
    import torch

    class Unit(torch.nn.Module):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(vectors, dim=1)

    class Layer(torch.nn.Module):
        def __init__(self, step: Dense) -> None:
            super().__init__()
            self.linear = linear(step, "linear")
            self.activation: torch.nn.Module = getattr(torch.nn, step.activation)()
            self.residual = None
            if step.residual:
                narrowed = self.linear.in_features != self.linear.out_features
                self.residual = linear(step, "residual") if narrowed else torch.nn.Identity()

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.activation(self.linear(vectors))
            return found if self.residual is None else found + self.residual(vectors)

    def linear(step: Dense, name: str) -> torch.nn.Linear:
        path = folder / step.folder / WEIGHTS
        weight, bias = read_tensor(path, f"{name}.weight"), read_tensor(path, f"{name}.bias")
        if weight is None or weight.ndim != 2:
            raise EncoderUnavailableError(f"{folder}: {step.folder}/{WEIGHTS} holds no {name}.weight")
        made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        made.load_state_dict(
            {"weight": torch.from_numpy(weight)} | ({} if bias is None else {"bias": torch.from_numpy(bias)})
        )
        return made

    steps = [Layer(step) if isinstance(step, Dense) else Unit() for step in pipeline.steps]
    return torch.nn.Sequential(*steps).eval().requires_grad_(requires_grad=False)


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


class TorchBackend:
    """A checkpoint on a device, in batches of texts of about one length.

    Args:
        module: The model; it is moved to the device.
        device: ``"cpu"``, ``"cuda"`` …; None takes CUDA where there is some.
    """

    def __init__(self, module: EncoderModule, device: str | None = None) -> None:
        import torch

        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        halved = self._device.startswith("cuda")
        self.precision: Precision = "bf16" if halved else "fp32"
        self._module = module
        module.to(self._device, torch.bfloat16 if halved else torch.float32)

    def __call__(self, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Normalised vectors, shape ``(d,)`` each."""
        import torch

        vectors: list[Any] = [None] * len(tokens)
        order = sorted(range(len(tokens)), key=lambda position: len(tokens[position]))
        for start in range(0, len(order), _BATCH):
            group = order[start : start + _BATCH]
            ids, mask = padded([tokens[position] for position in group], self._module.pad_id)
            with torch.inference_mode():
                found = self._module.embed(
                    torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
                )
            for position, vector in zip(group, found.cpu().numpy(), strict=True):
                vectors[position] = vector
        return vectors
