"""The model that is trained: a transformer, its pooling, and one linear row per agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.encoding.torch_backend import padded
from router_sdk_bert.finetuning.linear import SCALE, LinearRows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.encoding.module import EncoderModule

HEAD = "head."
"""What the names of the linear rows' parameters begin with."""


class RoutingModel:
    """A transformer, its pooling, and one linear row per agent.

    Args:
        encoder: The transformer with its own pooling; trained in place.
        rows: The linear rows to begin with.
    """

    def __init__(self, encoder: EncoderModule, rows: LinearRows) -> None:
        import torch

        self._encoder, self.names, self.device = encoder, rows.names, "cpu"
        self.weight = torch.nn.Parameter(torch.tensor(rows.weight))
        self.bias = torch.nn.Parameter(torch.tensor(rows.bias))

    @property
    def body(self) -> torch.nn.Module:
        """The transformer; exchange it for one with adapters."""
        return self._encoder.model

    @body.setter
    def body(self, model: torch.nn.Module) -> None:
        self._encoder.model = model

    def to(self, device: str) -> None:
        """Move everything to a device; the parameters stay the same objects."""
        self.device = device
        self._encoder.to(device)
        for parameter in (self.weight, self.bias):
            parameter.data = parameter.data.to(device)
            parameter.grad = None

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        self.body.train(mode)

    def embed(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Normalised embeddings of tokenised texts, shape ``(n, d)``."""
        import torch

        ids, mask = padded(tokens, self._encoder.pad_id)
        return self._encoder.embed(torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device))

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scores of embeddings, shape ``(n, K)``."""
        return SCALE * (embeddings.float() @ self.weight.T) + self.bias

    @property
    def rows(self) -> LinearRows:
        """The linear rows as they are now."""
        return LinearRows(self.names, *(part.detach().cpu().numpy().copy() for part in (self.weight, self.bias)))

    def head_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The live parameters of the linear rows."""
        return {f"{HEAD}weight": self.weight, f"{HEAD}bias": self.bias}

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Every parameter that moves, by name."""
        moving = {name: value for name, value in self.body.named_parameters() if value.requires_grad}
        return {**moving, **self.head_parameters()}


def by_length(tokens: Sequence[Sequence[int]], size: int) -> Iterator[NDArray[np.int64]]:
    """Positions of texts in groups of about one length, so that little is spent on padding."""
    order = np.argsort([len(text) for text in tokens], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
