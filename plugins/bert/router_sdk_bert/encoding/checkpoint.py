"""What a checkpoint folder says of itself: pooling, longest input, labels, and whether it may be read at all."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk_bert.config import POOLING, Pooling
from router_sdk_bert.encoding.description import DESCRIPTION
from router_sdk_bert.encoding.pipeline import Pipeline, read_pipeline, side_files
from router_sdk_bert.encoding.sealed_folder import MANIFEST, SealedFolder, sha256
from router_sdk_bert.files import read_object

HEADS = ("classifier.out_proj", "classifier", "score")
"""Where sequence classifiers keep their last linear layer."""

_KEPT = {".json", ".txt", ".safetensors", ".model"}
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5")
_LEFT_BEHIND = {DESCRIPTION, MANIFEST, "keepsakes.json"}
"""What belongs to one export and not to the next; the last an earlier release kept texts in."""
_UNBOUNDED = 1_000_000
"""Tokenizers without a limit of their own state an absurdly large one."""


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
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise EncoderUnavailableError(
                f"{folder} holds its weights as {', '.join(pickles)}: such files can run code when they are read, so "
                "only safetensors are. Convert it where you trust it: "
                "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)"
            )
        raise EncoderUnavailableError(f"{folder} has no model.safetensors")
    return Checkpoint(folder, config, weights)


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
