"""Elastic weight consolidation: holds weights where they were, the harder the more the old answers depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.model import HEAD

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.config import FitSettings
    from router_sdk_bert.finetuning.devices import Room
    from router_sdk_bert.finetuning.model import MovingWeights, RoutingModel
    from router_sdk_bert.finetuning.samples import TrainingSet

    Fisher = Mapping[str, torch.Tensor]
    """Parameter name to a tensor of its shape, each entry at least 0."""


def diagonal_fisher(
    parameters: Mapping[str, torch.Tensor],
    loss_of: Callable[[int], torch.Tensor],
    n: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, torch.Tensor]:
    """The mean over samples of each sample's *own* squared gradient.

    Squaring the gradient of a batch's mean loss instead would be near zero at an optimum, where gradients cancel
    though every one of them is large.

    Args:
        parameters: Leaves that require a gradient.
        loss_of: Negative log-likelihood of one sample, a scalar.
        n: Samples.
        check: Called before each sample; may raise, to stop.

    Returns:
        For each parameter a tensor of its shape.
    """
    import torch

    total = {name: torch.zeros_like(value, requires_grad=False) for name, value in parameters.items()}
    for sample in range(n):
        check()
        gradients = torch.autograd.grad(loss_of(sample), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name].addcmul_(gradient, gradient, value=1.0 / n)
    return total


def accumulated(old: Fisher, new: Fisher, decay: float) -> dict[str, torch.Tensor]:
    """Fisher information of all fits so far, the older the less.

    Schwarz et al., "Progress & Compress", ICML 2018 (online EWC): ``decay · old + new``.

    Args:
        old: Of the fits before.
        new: Of this one.
        decay: What the old counts, in [0, 1].
    """
    return {
        name: decay * old[name].float() + new[name].float() if name in old and name in new else _one(old, new, name)
        for name in {**old, **new}
    }


def _one(old: Fisher, new: Fisher, name: str) -> torch.Tensor:
    return (new[name] if name in new else old[name]).float()


def regrown(fisher: Fisher, before: Sequence[str], now: Sequence[str]) -> dict[str, torch.Tensor]:
    """The same information after agents came and went: rows of the head follow their names, new ones are zero.

    Args:
        fisher: Fisher information; parameters of the head have one row per agent.
        before: Agents of its rows.
        now: Agents of the new rows.
    """
    place = {name: row for row, name in enumerate(before)}
    kept = [(row, place[name]) for row, name in enumerate(now) if name in place]
    grown: dict[str, torch.Tensor] = {}
    for name, value in fisher.items():
        if not name.startswith(HEAD):
            grown[name] = value
            continue
        grown[name] = value.new_zeros((len(now), *value.shape[1:]))
        for row, old_row in kept:
            grown[name][row] = value[old_row]
    return grown


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


class FisherEstimate:
    """Estimates how much a model's answers depend on each of its weights.

    Args:
        loss_of: The loss of the feedback alone, of each of some samples.
        training_set: On what.
        settings: On how many samples, and how fast older information fades.
        seed: Which samples.
        room: On which device.
        check: Called between samples; may raise, to stop.
    """

    def __init__(
        self,
        loss_of: Callable[[RoutingModel, NDArray[np.int64]], torch.Tensor],
        training_set: TrainingSet,
        settings: FitSettings,
        seed: int,
        room: Room,
        check: Callable[[], None],
    ) -> None:
        self._loss_of, self._training_set, self._settings = loss_of, training_set, settings
        self._seed, self._room, self._check = seed, room, check

    @property
    def wanted(self) -> bool:
        """Whether the strategy weighs weights by it."""
        return self._settings.consolidates and self._settings.ewc_penalty == "fisher"

    def before(self, model: RoutingModel, kept: Fisher, names: Sequence[str]) -> Fisher | None:
        """That of what served: as the last fit kept it, else computed now from what it served for.

        Args:
            model: What served.
            kept: Of the last fit; empty where it kept none.
            names: Agents of its rows.
        """
        if not self.wanted:
            return None
        if kept:
            return regrown(kept, names, model.names)
        return self._of(model, self._training_set.known())

    def after(self, model: RoutingModel, before: Fisher | None) -> Fisher:
        """That of all fits so far, to hand on: the old, and that of what was new."""
        if not self.wanted:
            return {}
        return accumulated(before or {}, self._of(model, self._training_set.fresh()), self._settings.ewc_decay)

    def of_all(self, model: RoutingModel) -> Fisher:
        """That of all samples, whatever the strategy: for a fit that weighs weights by it later."""
        return self._of(model, range(len(self._training_set.samples)))

    def _of(self, model: RoutingModel, which: Sequence[int]) -> Fisher:
        rng = np.random.default_rng([self._seed, len(which)])
        drawn = rng.permutation(np.array(which, dtype=np.int64))[: self._settings.ewc_samples]
        for name, parameter in model.body.named_parameters():
            parameter.requires_grad_(self._settings.update == "full" or _is_matrix(name, parameter))
        model.train(False)

        def loss_of(sample: int) -> torch.Tensor:
            return self._loss_of(model, drawn[sample : sample + 1]).sum()

        found = self._room.attempt(lambda: diagonal_fisher(model.trainable(), loss_of, len(drawn), self._check))
        return {name: value.cpu() for name, value in found.items()}


def _is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether adapters can move it: a linear layer's weight."""
    return parameter.dim() == 2 and "embedding" not in name
