"""What a checkpoint folder says of itself, what an export adds to it, and whether it may be read at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk.private_files import private_folder, read_object
from router_sdk_bert.config import POOLING, Backend, EncoderSettings, Pooling, Precision
from router_sdk_bert.encoding.pipeline import Pipeline, Step, read_pipeline, side_files
from router_sdk_bert.encoding.sealed_folder import MANIFEST, SealedFolder, sha256

if TYPE_CHECKING:
    import torch

DESCRIPTION = "encoder.json"
FORMAT = 1
"""Raise it when exports change: vectors of different formats carry different tags, and cached exports are made anew."""
ACCENTS = "strip on Latin, Greek and Cyrillic"
"""What ``accents = "strip"`` means, in a tag; an earlier release dropped the marks of every script."""
MODEL_FILES: dict[Backend, str] = {"onnx-int8": "model.int8.onnx", "onnx": "model.onnx"}
HEADS = ("classifier.out_proj", "classifier", "score")
"""Where sequence classifiers keep their last linear layer."""
_KEPT = {".json", ".txt", ".safetensors", ".model"}
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5")
_LEFT_BEHIND = {DESCRIPTION, MANIFEST, "keepsakes.json"}
"""What belongs to one export and not to the next; the last an earlier release kept texts in."""
_UNBOUNDED = 1_000_000
"""Tokenizers without a limit of their own state an absurdly large one."""


class BackendCheck(BaseModel):
    """How the vectors of a back-end compare with torch's, over the probe texts.

    Attributes:
        backend: Which one was compared.
        cosine: Mean cosine between its vector of a text and torch's.
        top1: Share of texts whose nearest other text is the same one.
        agreement: The same, counting also texts that torch finds as near as its own choice, within .01.
        passed: Whether it may serve.
        problem: Why nothing could be compared, in words; empty if it could.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backend: Backend
    cosine: float
    top1: float
    agreement: float
    passed: bool
    problem: str = ""


class EncoderDescription(BaseModel):
    """What an export made, and what it is fit for.

    Attributes:
        format: Of the export.
        model: What it was made from, as the user named it.
        weights: SHA-256 of the safetensors.
        pooling: How token vectors become one.
        dimension: Of the vectors.
        longest: How many tokens the model takes at most.
        pad_id: Token that fills up shorter texts in a batch.
        prompt: What stands before every text.
        skipped: Tokens at the beginning that are not pooled.
        steps: What comes behind the pooling.
        kept: How many of the numbers are kept; None keeps all.
        pooled_norm: Mean length of the vectors before they are normalised.
        backend: What serves by default.
        checks: What was tried, and how it compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    model: str
    weights: str = Field(min_length=64, max_length=64)
    pooling: Pooling
    dimension: int = Field(gt=0)
    longest: int = Field(gt=0)
    pad_id: int = Field(ge=0)
    prompt: str = ""
    skipped: int = Field(default=0, ge=0)
    steps: tuple[Step, ...] = ()
    kept: int | None = Field(default=None, gt=0)
    pooled_norm: float = Field(gt=0)
    backend: Backend
    checks: tuple[BackendCheck, ...] = ()

    def tag(self, settings: EncoderSettings, tokenizer: str, precision: Precision) -> str:
        """``bert-…:precision``: equal only where vectors may be compared.

        Args:
            settings: How texts are cut and prepared.
            tokenizer: SHA-256 of the tokenizer.
            precision: Of the back-end that serves.
        """
        shaping: list[object] = [
            self.format,
            self.weights,
            self.pooling,
            tokenizer,
            min(settings.max_tokens, self.longest),
        ]
        around = self.model_dump(include={"prompt", "skipped", "steps", "kept"}, exclude_defaults=True)
        prepared = settings.preparation.model_dump(exclude_defaults=True)
        if "accents" in prepared:
            prepared["accents"] = ACCENTS
        shaping += [prepared, around] if around else [prepared]
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
        return f"bert-{digest[:8]}:{precision}"


def read_description(content: bytes) -> EncoderDescription:
    """Parse ``encoder.json``.

    Raises:
        CorruptArtifactError: if it is not valid, or of another format.
    """
    try:
        found = EncoderDescription.model_validate_json(content)
    except ValidationError as error:
        raise CorruptArtifactError(f"{DESCRIPTION} is not valid: {error}") from error
    if found.format != FORMAT:
        raise CorruptArtifactError(f"{DESCRIPTION} has format {found.format}, this release reads {FORMAT}")
    return found


@dataclass(frozen=True)
class Checkpoint:
    """A folder as ``save_pretrained`` writes it.

    Attributes:
        folder: Where it stands.
        config: Its ``config.json``.
        weights: Its safetensors files, in order.
    """

    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @property
    def architecture(self) -> str:
        """Name of the class that wrote it, such as ``BertModel``; empty if it does not say."""
        stated = self.config.get("architectures")
        return str(stated[0]) if isinstance(stated, list) and stated else ""

    @property
    def _classifies(self) -> bool:
        return self.architecture.endswith("ForSequenceClassification")

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: of the file, or of the files' digests where there are several."""
        digests = [sha256(path) for path in self.weights]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @cached_property
    def pipeline(self) -> Pipeline:
        """What sentence-transformers noted beside the model; nothing beside a sequence classifier.

        Raises:
            EncoderUnavailableError: if that is not supported; the file and the key are named.
        """
        return Pipeline() if self._classifies else read_pipeline(self.folder)

    @property
    def pooling(self) -> Pooling:
        """The model's own way from token vectors to one vector.

        What an earlier export noted; else a sequence classifier's own; else what sentence-transformers noted; else
        the first token, which is what BERT was trained to sum up in.

        Raises:
            EncoderUnavailableError: if what sentence-transformers noted is not supported.
        """
        noted = _json(self.folder / DESCRIPTION).get("pooling")
        if isinstance(noted, str) and re.fullmatch(POOLING, noted):
            return noted
        return "classifier" if self._classifies else self.pipeline.pooling or "cls"

    @property
    def longest(self) -> int:
        """How many tokens the model takes at most; what sentence-transformers noted goes before the tokenizer's own."""
        stated = self.pipeline.longest or _number(_json(self.folder / "tokenizer_config.json").get("model_max_length"))
        positions = _number(self.config.get("max_position_embeddings"))
        if self.config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            positions -= self.pad_id + 1  # These count positions from behind the padding token.
        return min((limit for limit in (stated, positions) if limit > 0), default=512)

    @property
    def pad_id(self) -> int:
        """Token that fills up shorter texts in a batch."""
        return max(_number(self.config.get("pad_token_id")), 0)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of its head, in the order of the head's rows; empty if it has none."""
        if not self._classifies:
            return ()
        names = self.config.get("id2label")
        if not isinstance(names, dict) or not all(key.isdecimal() and len(key) < 9 for key in names):
            return ()
        return tuple(str(names[key]) for key in sorted(names, key=int))

    def copy_to(self, folder: Path) -> None:
        """Copy what a later fit needs.

        Copies, not links: its owner may train on, and write into the very files.
        """
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and path.suffix in _KEPT and path.name not in _LEFT_BEHIND:
                shutil.copyfile(path, folder / path.name)
        for name in side_files(self.folder):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.folder / name, folder / name)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look at a checkpoint folder; the weights themselves are not read.

    Raises:
        EncoderUnavailableError: if it is none, or holds its weights in a format that runs code when it is read.
        CorruptArtifactError: if it carries a manifest and a file does not match, or is not named there.
    """
    if (folder / MANIFEST).is_file():
        _verify(SealedFolder(folder))
    config = _json(folder / "config.json")
    if not config:
        raise EncoderUnavailableError(f"{folder} is no checkpoint: it has no readable config.json")
    weights = _weights(folder)
    if not weights:
        pickles = pickled_files(folder)
        if pickles:
            names = ", ".join(path.name for path in pickles)
            raise EncoderUnavailableError(
                f"{folder} holds its weights as {names}: such files can run code when they are read, so "
                "only safetensors are. Convert it where you trust it: "
                "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
            )
        raise EncoderUnavailableError(f"{folder} has no model.safetensors")
    return Checkpoint(folder, config, weights)


def pickled_files(folder: Path) -> list[Path]:
    """Weights in formats that can run code when they are read."""
    return sorted({path for pattern in _PICKLES for path in folder.glob(pattern) if path.is_file()})


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
    save_model(body, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _verify(sealed: SealedFolder) -> None:
    """See that all that a library may read of the folder is what was written there."""
    sealed.verify()
    for path in sealed.path.rglob("*"):
        name = path.relative_to(sealed.path).as_posix()
        if name != MANIFEST and name not in sealed and (path.is_symlink() or path.suffix in _KEPT):
            raise CorruptArtifactError(f"{sealed.path.name}: {name} is not in the manifest")


def _weights(folder: Path) -> tuple[Path, ...]:
    single = folder / "model.safetensors"
    if single.is_file():
        return (single,)
    stated = _json(folder / "model.safetensors.index.json").get("weight_map")
    names = {str(name) for name in stated.values()} if isinstance(stated, dict) else set()
    # Names come from the file: none of them may lead out of the folder.
    parts = tuple(folder / Path(name).name for name in sorted(names))
    return parts if all(part.is_file() for part in parts) else ()


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if there is none that can be read."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def _number(stated: Any) -> int:
    """A number as it was stated; 0 where none was, or one beyond all bounds."""
    return int(stated) if isinstance(stated, (int, float)) and abs(stated) < _UNBOUNDED else 0
