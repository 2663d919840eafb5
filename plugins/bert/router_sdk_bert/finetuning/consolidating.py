"""The Fisher information of a routing model: before a fit, from what served, and after it, for the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.fisher import accumulated, diagonal_fisher, regrown

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.finetuning.continual_state import ContinualState
    from router_sdk_bert.finetuning.lessons import Lessons
    from router_sdk_bert.finetuning.limits import Room
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.objective import Objective
    from router_sdk_bert.finetuning.settings import FitSettings


if TYPE_CHECKING:
    Fisher = Mapping[str, torch.Tensor]


class FisherEstimate:
    """Estimates how much a model's answers depend on each of its weights.

    Args:
        objective: The loss of the feedback alone.
        lessons: On what.
        settings: On how many samples, and how fast older information fades.
        seed: Which samples.
        room: On which device.
        check: Called between samples; may raise, to stop.
    """

    def __init__(
        self,
        objective: Objective,
        lessons: Lessons,
        settings: FitSettings,
        seed: int,
        room: Room,
        check: Callable[[], None],
    ) -> None:
        self._objective, self._lessons, self._settings = objective, lessons, settings
        self._seed, self._room, self._check = seed, room, check

    @property
    def wanted(self) -> bool:
        """Whether the strategy weighs weights by it."""
        return self._settings.consolidates and self._settings.ewc_penalty == "fisher"

    def before(self, model: RoutingModel, state: ContinualState | None) -> Fisher | None:
        """That of what served: as the last fit kept it, else computed now from what it served for."""
        if not self.wanted:
            return None
        if state is not None and state.fisher:
            return regrown(state.fisher, state.rows.names, model.names)
        return self._of(model, self._lessons.known())

    def after(self, model: RoutingModel, before: Fisher | None) -> Fisher:
        """That of all fits so far, to hand on: the old, and that of what was new."""
        if not self.wanted:
            return {}
        return accumulated(before or {}, self._of(model, self._lessons.fresh()), self._settings.ewc_decay)

    def _of(self, model: RoutingModel, which: Sequence[int]) -> Fisher:
        rng = np.random.default_rng([self._seed, len(which)])
        drawn = rng.permutation(np.array(which, dtype=np.int64))[: self._settings.ewc_samples]
        for name, parameter in model.body.named_parameters():
            parameter.requires_grad_(self._settings.update == "full" or _is_matrix(name, parameter))
        model.train(False)

        def loss_of(sample: int) -> torch.Tensor:
            return self._objective.losses(model, drawn[sample : sample + 1])[0].sum()

        found = self._room.attempt(lambda: diagonal_fisher(model.trainable(), loss_of, len(drawn), self._check))
        return {name: value.cpu() for name, value in found.items()}


def _is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether adapters can move it: a linear layer's weight."""
    return parameter.dim() == 2 and "embedding" not in name
