"""One fine-tune of an encoder, from samples to a checkpoint folder; knows nothing of strategies or logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import FitError
from router_sdk_bert.encoding.checkpoint import read_checkpoint
from router_sdk_bert.encoding.torch_backend import load_module
from router_sdk_bert.finetuning.carried_state import ContinualState
from router_sdk_bert.finetuning.checkpoints import Checkpoints, fingerprint_of, write_checkpoint
from router_sdk_bert.finetuning.devices import Room, choose_device, limit_gpu, limited_threads
from router_sdk_bert.finetuning.distillation import Teacher
from router_sdk_bert.finetuning.ewc import ElasticWeightConsolidation, FisherEstimate
from router_sdk_bert.finetuning.losses import targets_of
from router_sdk_bert.finetuning.model import (
    AllWeights,
    LinearRows,
    LowRankWeights,
    MovingWeights,
    RoutingModel,
    class_means,
    no_rows,
    probe,
)
from router_sdk_bert.finetuning.samples import BatchPlan, Lessons, Subject
from router_sdk_bert.finetuning.stopping import StopWatch
from router_sdk_bert.finetuning.training_loop import HeldOut, Objective, Training

if TYPE_CHECKING:
    import torch

    from router_sdk.plugin import FitContext
    from router_sdk_bert.config import FitSettings
    from router_sdk_bert.finetuning.checkpoints import Progress
    from router_sdk_bert.finetuning.model import LinearRows


class FineTune:
    """Fine-tunes a copy of an encoder.

    Args:
        subject: The encoder; it is not touched.
        lessons: What to learn.
        settings: How.
        context: Device, seed, progress, and whether to stop.

    Raises:
        FitError: if there is nothing to learn, or the device is not there.
    """

    def __init__(self, subject: Subject, lessons: Lessons, settings: FitSettings, context: FitContext) -> None:
        self._subject, self._lessons, self._settings, self._context = subject, lessons, settings, context
        if not lessons.samples:
            raise FitError("there are no examples to fine-tune the encoder on")
        self._watch = StopWatch(context.stopped)
        self._targets = targets_of(lessons.samples, {name: row for row, name in enumerate(lessons.names)})
        if self._targets.classes() < 2 or (lessons.exclusive and len(lessons.names) < 2):
            raise FitError("the examples are of one class only; there is nothing to tell apart")
        self._vectors = lessons.vectors()
        if not np.isfinite(self._vectors).all():
            raise FitError("the serving encoder's embeddings are not finite")
        self._tokens = [subject.tokenize(sample.text) for sample in lessons.samples]

    def run(self, folder: Path) -> tuple[ContinualState, Progress]:
        """Train, and write the merged encoder into ``folder``, with what the next fine-tune needs.

        Raises:
            FitError: if a loss is not finite, or memory does not suffice for a single example on the CPU.
            FitStoppedError: if the context said so.
        """
        settings, context = self._settings, self._context
        with limited_threads(settings.torch_threads):
            device = choose_device(context.device)
            limit_gpu(device, settings.gpu_memory_share)
            state = self._subject.state
            served = served_rows(self._lessons, None if state is None else state.rows)
            model = self._model(served)
            room = Room(device, settings.batch_size, model.to, settings.memory_limit_mb)
            model.to(device)
            plain = Objective(self._tokens, self._targets, self._lessons.exclusive)
            estimate = FisherEstimate(plain, self._lessons, settings, context.seed, room, self._watch.check)
            fisher = estimate.before(model, state)
            moving: MovingWeights = (
                AllWeights(model) if settings.update == "full" else LowRankWeights(model, settings, context.seed)
            )
            model.to(room.device)
            objective = self._objective(model, moving, served, fisher)
            progress = self._train(model, objective, room)
            moving.merge()
            left = ContinualState(model.rows, estimate.after(model, fisher))
            model.to("cpu")
            write_checkpoint(read_checkpoint(self._subject.checkpoint), model.body, folder)
            left.save(folder)
        return left, progress

    def _model(self, served: LinearRows | None) -> RoutingModel:
        encoder = load_module(self._subject.checkpoint, self._subject.pooling)
        if self._settings.gradient_checkpointing:
            body: Any = encoder.model
            renamed = getattr(body, "activation_checkpointing_enable", None)  # what transformers 6 calls it
            (renamed or body.gradient_checkpointing_enable)({"use_reentrant": False})
        return RoutingModel(encoder, first_rows(self._lessons, served))

    def _objective(
        self,
        model: RoutingModel,
        moving: MovingWeights,
        served: LinearRows | None,
        fisher: Mapping[str, torch.Tensor] | None,
    ) -> Objective:
        settings, lessons = self._settings, self._lessons
        teacher = consolidation = None
        if settings.distils and served is not None:
            teacher = Teacher(
                served,
                self._vectors,
                lessons.names,
                temperature=settings.distillation_temperature,
                exclusive=lessons.exclusive,
                embedding_weight=settings.distillation_embeddings,
            )
        if settings.consolidates and (fisher is not None or settings.ewc_penalty == "l2"):
            consolidation = ElasticWeightConsolidation(
                model, moving, settings.ewc_lambda, fisher, held_rows=() if served is None else served.names
            )
        return Objective(
            self._tokens,
            self._targets,
            lessons.exclusive,
            teacher,
            settings.distillation_weight if teacher is not None else 0.0,
            consolidation,
            settings.contrastive_weight,
        )

    def _train(self, model: RoutingModel, objective: Objective, room: Room) -> Progress:
        lessons, settings, context = self._lessons, self._settings, self._context
        held_out = HeldOut(
            [self._subject.tokenize(sample.text) for sample in lessons.held_out],
            targets_of(lessons.held_out, {name: row for row, name in enumerate(lessons.names)}),
            lessons.exclusive,
        )
        plan = BatchPlan(lessons.samples, settings, context.seed)
        print_of_fit = fingerprint_of(
            settings.model_dump(mode="json"), lessons.samples, context.seed, encoder=self._subject.tag
        )
        checkpoints = Checkpoints(context.checkpoints if settings.keep_checkpoints else None, print_of_fit)
        ids = tuple(sample.decision_id for sample in lessons.samples)
        return Training(model, objective, plan, held_out, settings, room, self._watch, ids).run(context, checkpoints)


def served_rows(lessons: Lessons, left: LinearRows | None) -> LinearRows | None:
    """The serving version's linear rows, for the agents that it knows; None where it cannot tell two apart.

    Args:
        lessons: What is to be learnt.
        left: Rows that the last fine-tune trained; else rows are fitted to what the version serves for, on its own
            embeddings.
    """
    return left if left is not None and left.names else _probed(lessons, lessons.known())


def first_rows(lessons: Lessons, served: LinearRows | None) -> LinearRows:
    """Where the trained rows start: what served, and for a new agent the mean of what it is taught."""
    vectors = lessons.vectors()
    rows = no_rows(vectors.shape[1]) if served is None else served
    targets = targets_of(lessons.samples, {name: row for row, name in enumerate(lessons.names)})
    means = class_means(lessons.names, vectors, targets)
    length = float(np.linalg.norm(rows.weight, axis=1).mean()) if rows.names else 1.0
    return rows.grown(lessons.names, {name: mean * length for name, mean in means.items()})


def _probed(lessons: Lessons, which: Sequence[int]) -> LinearRows | None:
    """Rows fitted to some of the samples, for the agents that they name."""
    samples = [lessons.samples[place] for place in which]
    told = {name for sample in samples for name in (sample.label, sample.agent) if name is not None}
    names = tuple(name for name in lessons.names if name in told)
    if len(names) < 2:
        return None
    vectors = lessons.vectors()[list(which)]
    targets = targets_of(samples, {name: row for row, name in enumerate(names)})
    start = no_rows(vectors.shape[1]).grown(names, class_means(names, vectors, targets))
    return probe(start, vectors, targets, exclusive=lessons.exclusive)
