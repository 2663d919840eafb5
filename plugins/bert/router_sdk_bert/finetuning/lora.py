"""Which weights of the encoder move: low-rank adapters beside them, or they themselves."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from router_sdk_bert.finetuning.devices import seeded

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.settings import FitSettings

ADAPTER = "default"


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
