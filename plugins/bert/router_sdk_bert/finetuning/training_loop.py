"""The training loop: what is minimised, steps, early stopping, checkpoints, and whatever memory allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import FitError
from router_sdk_bert.finetuning.checkpoints import Checkpoints, Progress, TrainingState
from router_sdk_bert.finetuning.devices import autocast, choose_precision, seeded
from router_sdk_bert.finetuning.losses import Targets, contrastive_loss, feedback_loss
from router_sdk_bert.finetuning.model import by_length
from router_sdk_bert.finetuning.optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from router_sdk.plugin import FitContext
    from router_sdk_bert.config import FitSettings
    from router_sdk_bert.finetuning.devices import Room
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.samples import BatchPlan
    from router_sdk_bert.finetuning.stopping import StopWatch

AT_ONCE = 32


@dataclass(slots=True, frozen=True)
class Objective:
    """The loss of one fit.

    Attributes:
        tokens: Token ids of every sample.
        targets: Feedback on every sample.
        exclusive: Whether at most one agent is right.
        distillation: How far logits and embeddings of some samples are from what served, shape ``(n,)``, or None.
        distillation_weight: Share of the loss that is its, in [0, 1].
        penalty: On moved weights, a scalar, or None.
        contrastive_weight: Weight of the supervised contrastive loss.
    """

    tokens: Sequence[Sequence[int]]
    targets: Targets
    exclusive: bool = True
    distillation: Callable[[torch.Tensor, torch.Tensor, NDArray[np.int64]], torch.Tensor] | None = None
    distillation_weight: float = 0.0
    penalty: Callable[[], torch.Tensor] | None = None
    contrastive_weight: float = 0.0

    def losses(self, model: RoutingModel, which: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of each of these samples, and of the feedback alone; both of shape ``(n,)``.

        Args:
            model: What is trained.
            which: Positions of the samples, shape ``(n,)``.
        """
        embeddings = model.embed([self.tokens[place] for place in which])
        logits, targets = model.logits(embeddings), chosen(self.targets, which)
        feedback = each = feedback_loss(logits, targets, exclusive=self.exclusive)
        if self.distillation is not None:
            moved = self.distillation(logits, embeddings, which)
            each = (1.0 - self.distillation_weight) * each + self.distillation_weight * moved
        if self.contrastive_weight:
            each = each + self.contrastive_weight * contrastive_loss(embeddings, targets)
        return each, feedback.detach()


def chosen(targets: Targets, which: NDArray[np.int64]) -> Targets:
    """The feedback on some of the samples."""
    return Targets(*(getattr(targets, one.name)[which] for one in fields(Targets)))


@dataclass(slots=True, frozen=True)
class HeldOut:
    """Examples kept apart.

    Attributes:
        tokens: Their token ids.
        targets: Feedback on them.
        exclusive: Whether at most one agent is right.
    """

    tokens: Sequence[Sequence[int]]
    targets: Targets
    exclusive: bool = True

    def measure(self, model: RoutingModel, room: Room, watch: StopWatch) -> dict[str, float]:
        """``held_out_loss``, and ``accuracy`` over those with a label; empty where nothing is held out."""
        import torch

        if not len(self.targets):
            return {}
        model.train(False)
        logits = np.zeros((len(self.targets), len(model.names)), dtype=np.float32)
        with torch.no_grad():
            for which in by_length(self.tokens, AT_ONCE):
                watch.check()
                some = [self.tokens[place] for place in which]
                logits[which] = room.attempt(lambda some=some: model.logits(model.embed(some)).cpu().numpy())  # type: ignore[misc]
            losses = feedback_loss(torch.as_tensor(logits), self.targets, exclusive=self.exclusive).numpy()
        known = self.targets.labelled & (self.targets.labels >= 0)
        measured = {"held_out_loss": float(np.average(losses, weights=self.targets.weights))}
        if known.any():
            measured["accuracy"] = float((logits.argmax(axis=1) == self.targets.labels)[known].mean())
        return measured


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
        if objective.penalty is not None:
            self._backward(objective.penalty())
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
