"""The head of a sequence-classification checkpoint: label names and one linear row each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError
from router_sdk_bert.encoding.checkpoint import HEADS, Checkpoint, read_checkpoint
from router_sdk_bert.encoding.description import DESCRIPTION, read_description
from router_sdk_bert.encoding.sealed_folder import SealedFolder
from router_sdk_bert.tensor_layout import read_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
