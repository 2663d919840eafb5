"""Runs a checkpoint with torch: bf16 on CUDA, single precision elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_bert.encoding.description import Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_sdk_bert.encoding.module import EncoderModule

_BATCH = 64


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


def padded(tokens: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask of one batch, both of shape ``(n, longest)``."""
    lengths = np.array([len(ids) for ids in tokens])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    filled = np.full(mask.shape, pad_id, dtype=np.int64)
    filled[mask == 1] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in tokens])
    return filled, mask
