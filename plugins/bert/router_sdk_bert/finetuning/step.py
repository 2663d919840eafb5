"""One step of training: a batch through the model in as many parts as memory asks for, then the parameters move."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import FitError
from router_sdk_bert.finetuning.devices import autocast, choose_precision
from router_sdk_bert.finetuning.optimizer import Optimizer

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from router_sdk_bert.finetuning.limits import Room
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.objective import Objective
    from router_sdk_bert.finetuning.settings import FitSettings
    from router_sdk_bert.finetuning.stopping import StopWatch


class Step:
    """Moves a model by one batch at a time.

    Args:
        model: What is trained, in place.
        objective: What is minimised.
        settings: Precision, learning rates, decay and clipping.
        room: How much goes through the model at once.
        watch: Whether to stop.
        steps: How many there will be, for the schedule of the learning rate.

    Attributes:
        optimizer: Moves the parameters.
    """

    def __init__(
        self,
        model: RoutingModel,
        objective: Objective,
        settings: FitSettings,
        room: Room,
        watch: StopWatch,
        steps: int,
    ) -> None:
        self._model, self._objective, self._settings = model, objective, settings
        self._room, self._watch = room, watch
        self.optimizer = Optimizer(model, settings, steps)

    def __call__(self, which: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one step, again and in smaller parts for as long as memory runs out.

        Args:
            which: Positions of the batch's samples, shape ``(n,)``.
            weights: How much each counts for how it was drawn, shape ``(n,)``.

        Returns:
            Loss of the feedback on each sample, shape ``(n,)``.

        Raises:
            FitError: if a loss is not finite, or a single example does not fit into memory.
            FitStoppedError: if it was told to stop.
        """
        return self._room.attempt(lambda: self._whole(which, weights))

    def _whole(self, which: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        objective, size = self._objective, self._room.size
        counts = weights * objective.targets.weights[which]
        counts = counts / (float(counts.sum()) or 1.0)
        self.optimizer.zero()
        losses = [
            self._part(which[start : start + size], counts[start : start + size])
            for start in range(0, len(which), size)
        ]
        if objective.consolidation is not None:
            self._backward(objective.consolidation.penalty())
        self.optimizer.step()
        return np.concatenate(losses)

    def _part(self, which: NDArray[np.int64], counts: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        self._watch.check()
        device = self._room.device
        with autocast(device, choose_precision(self._settings.mixed_precision, device)):
            each, feedback = self._objective.losses(self._model, which)
        self._backward((each * torch.as_tensor(counts, device=each.device)).sum())
        said: NDArray[np.float32] = feedback.float().cpu().numpy()
        return said

    def _backward(self, loss: torch.Tensor) -> None:
        if not math.isfinite(value := loss.item()):
            raise FitError(f"the loss became {value}; try a smaller learning rate. What serves is untouched")
        self.optimizer.backward(loss)
