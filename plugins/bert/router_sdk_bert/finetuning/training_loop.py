"""The training loop: epochs of steps, early stopping, checkpoints, and whatever memory allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.finetuning.checkpoints import Checkpoints, Progress, TrainingState
from router_sdk_bert.finetuning.devices import seeded
from router_sdk_bert.finetuning.step import Step

if TYPE_CHECKING:
    import torch

    from router_sdk.plugin import FitContext
    from router_sdk_bert.finetuning.batches import BatchPlan
    from router_sdk_bert.finetuning.limits import Room
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.objective import Objective
    from router_sdk_bert.finetuning.settings import FitSettings
    from router_sdk_bert.finetuning.stopping import StopWatch
    from router_sdk_bert.finetuning.validation import HeldOut


class Training:
    """Trains a model until it no longer gets better, and leaves it as it was at its best epoch.

    Every epoch draws its batches and its dropout from the seed and its own number, so that it comes out the same
    whether or not the fit was interrupted before it.

    Args:
        model: What is trained, in place.
        objective: What is minimised.
        plan: Which samples make up each step.
        held_out: What early stopping looks at.
        settings: Everything else.
        room: How much goes through the model at once.
        watch: Whether to stop.
        ids: Decision id of every sample.
    """

    def __init__(
        self,
        model: RoutingModel,
        objective: Objective,
        plan: BatchPlan,
        held_out: HeldOut,
        settings: FitSettings,
        room: Room,
        watch: StopWatch,
        ids: tuple[str, ...],
    ) -> None:
        self._model, self._plan, self._held_out = model, plan, held_out
        self._settings, self._room, self._watch, self._ids = settings, room, watch, ids
        self._step = Step(model, objective, settings, room, watch, steps=plan.steps * settings.epochs)
        self._progress = Progress()
        self._best: dict[str, torch.Tensor] = {}

    def run(self, context: FitContext, checkpoints: Checkpoints) -> Progress:
        """Train, from the newest checkpoint on if there is one.

        Raises:
            FitError: if a loss is not finite, or memory does not suffice for a single example.
            FitStoppedError: if the context said so.
        """
        if (state := checkpoints.newest()) is not None:
            self._resume(state)
            for point in self._progress.curve:
                context.note(point)
        with self._watch.inside(self._model.body):
            while self._progress.epoch < self._settings.epochs and not self._is_stale():
                self._epoch(context)
                checkpoints.save(self._state())
        self._load(self._best)
        return self._progress

    def _is_stale(self) -> bool:
        progress = self._progress
        return progress.best_loss is not None and progress.epoch - progress.best_epoch >= self._settings.patience

    def _epoch(self, context: FitContext) -> None:
        number = self._progress.epoch
        losses: dict[str, float] = {}
        with seeded(context.seed, number):
            batches = self._plan.epoch(np.random.default_rng([context.seed, number]))
            self._model.train()
            for step, (which, weights) in enumerate(batches):
                self._watch.check()
                each = self._step(which, weights)
                losses.update(zip((self._ids[place] for place in which), each.tolist(), strict=True))
                share = (number + (step + 1) / len(batches)) / self._settings.epochs
                context.progress(share, f"epoch {number + 1}, step {step + 1} of {len(batches)}")
        self._plan.prioritize(losses)
        self._progress.losses.update(losses if self._settings.replay_buffer == "prioritized" else {})
        point = {"epoch": float(number + 1), "loss": float(np.mean(list(losses.values())))}
        self._judge(point)
        context.note(point)

    def _judge(self, point: dict[str, float]) -> None:
        """Look at the held-out examples, and keep the weights if they are the best so far."""
        progress = self._progress
        progress.epoch += 1
        point.update(self._held_out.measure(self._model, self._room, self._watch))
        progress.curve.append(point)
        loss = point.get("held_out_loss")
        if loss is None or progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = loss, progress.epoch
            self._best = self._weights()

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._model.trainable().items()}

    def _load(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, value in self._model.trainable().items():
            value.data.copy_(weights[name])

    def _state(self) -> TrainingState:
        return TrainingState(self._progress, self._weights(), self._best, self._step.optimizer.tensors())

    def _resume(self, state: TrainingState) -> None:
        self._progress, self._best = state.progress, state.best
        self._load(state.weights)
        self._step.optimizer.load(state.optimizer)
        self._plan.prioritize(state.progress.losses)
