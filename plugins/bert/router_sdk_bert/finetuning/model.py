"""The model that is trained: a transformer, one linear row per agent, and which of its weights move."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from router_sdk_bert.encoding.tokenizer import padded
from router_sdk_bert.finetuning.devices import seeded
from router_sdk_bert.finetuning.losses import feedback_loss

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.config import FitSettings
    from router_sdk_bert.finetuning.losses import Targets

SCALE = 20.0
"""Embeddings and rows are about of unit length: a cosine of .1 more is worth a factor of e² in the odds."""
PROBE_STEPS = 60
PROBE_DECAY = 1e-2
HEAD = "head."
"""What the names of the linear rows' parameters begin with."""
ADAPTER = "default"


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


class Encoder(Protocol):
    """A transformer with its pooling, in torch: an ``EncoderModule``."""

    model: torch.nn.Module

    @property
    def pad_id(self) -> int:
        """Token that fills up shorter texts in a batch."""

    def to(self, device: str) -> None:
        """Move it to a device."""

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Normalised vectors, shape ``(n, d)``."""


class RoutingModel:
    """A transformer, its pooling, and one linear row per agent.

    Args:
        encoder: The transformer with its own pooling; trained in place.
        rows: The linear rows to begin with.
    """

    def __init__(self, encoder: Encoder, rows: LinearRows) -> None:
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


class MovingWeights(ABC):
    """How the encoder's weights may move away from what serves.

    Names are those of the plain encoder's own parameters, however they are moved, so that what is known of a
    weight, such as its Fisher information, outlives the adapters.
    """

    @abstractmethod
    def displacement(self) -> Mapping[str, torch.Tensor]:
        """How far each weight is from where it was, differentiable, by the plain encoder's names."""

    @abstractmethod
    def merge(self) -> None:
        """Turn the model's body into a plain encoder with the weights as they are now."""


class AllWeights(MovingWeights):
    """Every parameter of the encoder moves."""

    def __init__(self, model: RoutingModel) -> None:
        for parameter in model.body.parameters():
            parameter.requires_grad_(True)
        self._model = model
        self._before = {name: value.detach().clone() for name, value in model.body.named_parameters()}

    def displacement(self) -> Mapping[str, torch.Tensor]:
        """Each parameter less what it was."""
        return {
            name: value - self._before[name].to(value.device) for name, value in self._model.body.named_parameters()
        }

    def merge(self) -> None:
        """Nothing to do: the weights themselves moved."""


class LowRankWeights(MovingWeights):
    """Adapters of low rank beside all linear layers move (Hu et al., "LoRA", ICLR 2022).

    Args:
        model: Its body is wrapped in place.
        settings: Rank, scale and dropout.
        seed: Seed of the adapters' first weights.
    """

    def __init__(self, model: RoutingModel, settings: FitSettings, seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        body: Any = model.body
        shape = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=linear_layers(body),
            bias="none",
        )
        with seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the two libraries' releases disagree on a name
            wrapped: Any = get_peft_model(body, shape, adapter_name=ADAPTER)
        self._model, self._wrapped = model, wrapped
        model.body = wrapped
        self._layers = {
            f"{name.removeprefix('base_model.model.')}.weight": module
            for name, module in wrapped.named_modules()
            if hasattr(module, "lora_A") and ADAPTER in module.lora_A
        }

    def displacement(self) -> Mapping[str, torch.Tensor]:
        """The product of each pair of adapters, scaled."""
        return {
            name: layer.scaling[ADAPTER] * (layer.lora_B[ADAPTER].weight @ layer.lora_A[ADAPTER].weight)
            for name, layer in self._layers.items()
        }

    def merge(self) -> None:
        """Add the adapters' products to the weights, and take the adapters off."""
        self._model.body = self._wrapped.merge_and_unload()


def linear_layers(body: torch.nn.Module) -> list[str]:
    """Names of the encoder's linear layers, less those that the embedding does not depend on."""
    import torch

    return [
        name
        for name, module in body.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("pooler")
    ]
