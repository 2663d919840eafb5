"""One linear row per agent on top of embeddings, trained together with the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk_bert.finetuning.losses import feedback_loss

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.finetuning.targets import Targets

SCALE = 20.0
"""Embeddings and rows are about of unit length: a cosine of .1 more is worth a factor of e² in the odds."""
PROBE_STEPS = 60
PROBE_DECAY = 1e-2


@dataclass(slots=True, frozen=True)
class LinearRows:
    """The rows of a linear head, by agent name: logits are ``20 · (embeddings @ weightᵀ) + bias``.

    Attributes:
        names: Agents in the order of the rows.
        weight: Shape ``(K, d)``.
        bias: Shape ``(K,)``.
    """

    names: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of vectors of shape ``(n, d)``, shape ``(n, K)``."""
        scores: NDArray[np.float32] = SCALE * (vectors @ self.weight.T) + self.bias
        return scores

    def grown(self, names: Sequence[str], starts: Mapping[str, NDArray[np.float32]]) -> LinearRows:
        """Rows for these agents: known ones keep theirs, new ones start from ``starts`` or zero, others are dropped."""
        place = {name: i for i, name in enumerate(self.names)}
        weight = np.zeros((len(names), self.weight.shape[1]), dtype=np.float32)
        bias = np.zeros(len(names), dtype=np.float32)
        for row, name in enumerate(names):
            if name in place:
                weight[row], bias[row] = self.weight[place[name]], self.bias[place[name]]
            elif name in starts:
                weight[row] = starts[name]
        return LinearRows(tuple(names), weight, bias)


def no_rows(dimension: int) -> LinearRows:
    """A head that knows nobody."""
    return LinearRows((), np.zeros((0, dimension), np.float32), np.zeros(0, np.float32))


def class_means(names: Sequence[str], vectors: NDArray[np.float32], targets: Targets) -> dict[str, NDArray[np.float32]]:
    """The normalised mean embedding of each agent's labels and of what it succeeded at, where there are any."""
    means = {}
    for row, name in enumerate(names):
        weight = np.where(targets.labels == row, 1.0, np.where(targets.agents == row, targets.rewards, 0.0))
        total = (weight * targets.weights) @ vectors
        if (length := float(np.linalg.norm(total))) > 0.0:
            means[name] = (total / length).astype(np.float32)
    return means


def probe(rows: LinearRows, vectors: NDArray[np.float32], targets: Targets, *, exclusive: bool) -> LinearRows:
    """Train the rows alone on fixed embeddings, by full-batch L-BFGS, deterministically.

    A head that fits before the encoder moves keeps the encoder's features from being distorted (Kumar et al.,
    "Fine-Tuning can Distort Pretrained Features", ICLR 2022).

    Args:
        rows: Where to start.
        vectors: Embeddings, shape ``(n, d)``.
        targets: Feedback on them.
        exclusive: Whether at most one agent is right.
    """
    import torch

    features = torch.as_tensor(vectors, dtype=torch.float32)
    weights = torch.as_tensor(targets.weights)
    weight = torch.tensor(rows.weight, requires_grad=True)
    bias = torch.tensor(rows.bias, requires_grad=True)
    start = weight.detach().clone()
    optimizer: Any = torch.optim.LBFGS([weight, bias], max_iter=PROBE_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = feedback_loss(SCALE * (features @ weight.T) + bias, targets, exclusive=exclusive)
        loss = (losses * weights).sum() / weights.sum() + PROBE_DECAY * (weight - start).square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)
    return LinearRows(rows.names, weight.detach().numpy(), bias.detach().numpy())
