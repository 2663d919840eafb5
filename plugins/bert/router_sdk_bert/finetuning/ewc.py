"""Holds weights where they were, the harder the more the old answers depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.finetuning.lora import MovingWeights
    from router_sdk_bert.finetuning.model import RoutingModel


class ElasticWeightConsolidation:
    """The penalty ``λ/2 · Σ F (θ - θ*)²`` on the live parameters of encoder and head.

    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. Without Fisher information
    every parameter counts alike, which is the proximal L2 penalty.

    Args:
        model: Its live head is held where it is now.
        moving: How far the encoder has moved.
        ewc_lambda: λ.
        fisher: Fisher information by parameter name; what is not in it is free. None holds all alike.
        held_rows: Agents whose rows are held where there is no Fisher information; a new agent's is free.
    """

    def __init__(
        self,
        model: RoutingModel,
        moving: MovingWeights,
        ewc_lambda: float,
        fisher: Mapping[str, torch.Tensor] | None,
        held_rows: tuple[str, ...] = (),
    ) -> None:
        self._model, self._moving, self._lambda, self._fisher = model, moving, ewc_lambda, fisher
        self._head = {name: value.detach().clone() for name, value in model.head_parameters().items()}
        self._held = [name in held_rows for name in model.names]

    def penalty(self) -> torch.Tensor:
        """The penalty now, a differentiable scalar; 0 where nothing has moved."""
        import torch

        device = self._model.weight.device
        total = torch.zeros((), device=device)
        for name, moved in self._moving.displacement().items():
            if self._fisher is None:
                total = total + moved.square().sum()
            elif name in self._fisher:
                total = total + (self._fisher[name].to(device, torch.float32) * moved.square()).sum()
        held = torch.tensor(self._held, device=device, dtype=torch.float32)
        for name, live in self._model.head_parameters().items():
            moved = live - self._head[name].to(device)
            if self._fisher is None:
                total = total + (held.reshape(-1, *[1] * (moved.dim() - 1)) * moved.square()).sum()
            elif name in self._fisher:
                total = total + (self._fisher[name].to(device, torch.float32) * moved.square()).sum()
        return 0.5 * self._lambda * total
