"""One fine-tune of an encoder, from samples to a checkpoint folder; knows nothing of strategies or logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import FitError
from router_sdk_bert.encoding.checkpoint import read_checkpoint, write_checkpoint
from router_sdk_bert.encoding.torch_backend import load_module
from router_sdk_bert.finetuning.carried_state import CarriedWeights
from router_sdk_bert.finetuning.checkpoints import Checkpoints, fingerprint_of
from router_sdk_bert.finetuning.devices import Room, choose_device, limit_gpu, limited_threads
from router_sdk_bert.finetuning.distillation import Teacher
from router_sdk_bert.finetuning.ewc import ElasticWeightConsolidation, FisherEstimate
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
from router_sdk_bert.finetuning.samples import BatchPlan, SourceEncoder, TrainingSet, targets_of
from router_sdk_bert.finetuning.stopping import StopWatch
from router_sdk_bert.finetuning.training_loop import HeldOut, Objective, Training

if TYPE_CHECKING:
    import torch

    from router_sdk.plugin import FitContext
    from router_sdk_bert.config import FitSettings
    from router_sdk_bert.finetuning.checkpoints import Progress


class FineTune:
    """Fine-tunes a copy of an encoder.

    Args:
        subject: The encoder; it is not touched.
        training_set: What to learn.
        settings: How.
        context: Device, seed, progress, and whether to stop.
        carried: What the fine-tune that made the encoder left, or None.

    Raises:
        FitError: if there is nothing to learn, or the device is not there.
    """

    def __init__(
        self,
        source: SourceEncoder,
        training_set: TrainingSet,
        settings: FitSettings,
        context: FitContext,
        carried: CarriedWeights | None = None,
    ) -> None:
        self._source, self._training_set, self._carried = source, training_set, carried
        self._settings, self._context = settings, context
        if not training_set.samples:
            raise FitError("there are no examples to fine-tune the encoder on")
        self._watch = StopWatch(context.stopped)
        self._targets = targets_of(training_set.samples, {name: row for row, name in enumerate(training_set.names)})
        if self._targets.classes() < 2 or (training_set.exclusive and len(training_set.names) < 2):
            raise FitError("the examples are of one class only; there is nothing to tell apart")
        self._vectors = training_set.vectors()
        if not np.isfinite(self._vectors).all():
            raise FitError("the serving encoder's embeddings are not finite")
        self._tokens = [source.tokenize(sample.text) for sample in training_set.samples]

    def run(self, folder: Path) -> tuple[CarriedWeights, Progress]:
        """Train, and write the merged encoder into ``folder``, with what the next fine-tune needs.

        Raises:
            FitError: if a loss is not finite, or memory does not suffice for a single example on the CPU.
            FitStoppedError: if the context said so.
        """
        settings, context = self._settings, self._context
        with limited_threads(settings.torch_threads):
            device = choose_device(context.device)
            limit_gpu(device, settings.gpu_memory_share)
            carried = self._carried
            served = served_rows(self._training_set, None if carried is None else carried.rows)
            model = self._model(served)
            room = Room(device, settings.batch_size, model.to, settings.memory_limit_mb)
            model.to(device)
            plain = Objective(self._tokens, self._targets, self._training_set.exclusive)
            estimate = FisherEstimate(
                lambda model, which: plain.losses(model, which)[0],
                self._training_set,
                settings,
                context.seed,
                room,
                self._watch.check,
            )
            fisher = estimate.before(model, *(({}, ()) if carried is None else (carried.fisher, carried.rows.names)))
            moving: MovingWeights = (
                AllWeights(model) if settings.update == "full" else LowRankWeights(model, settings, context.seed)
            )
            model.to(room.device)
            objective = self._objective(model, moving, served, fisher)
            progress = self._train(model, objective, room)
            moving.merge()
            left = CarriedWeights(model.rows, estimate.after(model, fisher))
            model.to("cpu")
            write_checkpoint(read_checkpoint(self._source.checkpoint), model.body, folder)
            left.save(folder)
        return left, progress

    def _model(self, served: LinearRows | None) -> RoutingModel:
        encoder = load_module(self._source.checkpoint, self._source.pooling)
        if self._settings.gradient_checkpointing:
            body: Any = encoder.model
            renamed = getattr(body, "activation_checkpointing_enable", None)  # what transformers 6 calls it
            (renamed or body.gradient_checkpointing_enable)({"use_reentrant": False})
        return RoutingModel(encoder, first_rows(self._training_set, served))

    def _objective(
        self,
        model: RoutingModel,
        moving: MovingWeights,
        served: LinearRows | None,
        fisher: Mapping[str, torch.Tensor] | None,
    ) -> Objective:
        settings, training_set = self._settings, self._training_set
        teacher = consolidation = None
        if settings.distils and served is not None:
            teacher = Teacher(
                served,
                self._vectors,
                training_set.names,
                temperature=settings.distillation_temperature,
                exclusive=training_set.exclusive,
                embedding_weight=settings.distillation_embeddings,
            )
        if settings.consolidates and (fisher is not None or settings.ewc_penalty == "l2"):
            consolidation = ElasticWeightConsolidation(
                model, moving, settings.ewc_lambda, fisher, held_rows=() if served is None else served.names
            )
        return Objective(
            self._tokens,
            self._targets,
            training_set.exclusive,
            None if teacher is None else teacher.loss,
            settings.distillation_weight if teacher is not None else 0.0,
            None if consolidation is None else consolidation.penalty,
            settings.contrastive_weight,
        )

    def _train(self, model: RoutingModel, objective: Objective, room: Room) -> Progress:
        training_set, settings, context = self._training_set, self._settings, self._context
        held_out = HeldOut(
            [self._source.tokenize(sample.text) for sample in training_set.held_out],
            targets_of(training_set.held_out, {name: row for row, name in enumerate(training_set.names)}),
            training_set.exclusive,
        )
        plan = BatchPlan(training_set.samples, settings, context.seed)
        print_of_fit = fingerprint_of(
            settings.model_dump(mode="json"), training_set.samples, context.seed, encoder=self._source.tag
        )
        checkpoints = Checkpoints(context.checkpoints if settings.keep_checkpoints else None, print_of_fit)
        ids = tuple(sample.decision_id for sample in training_set.samples)
        return Training(model, objective, plan, held_out, settings, room, self._watch, ids).run(context, checkpoints)


def served_rows(training_set: TrainingSet, left: LinearRows | None) -> LinearRows | None:
    """The serving version's linear rows, for the agents that it knows; None where it cannot tell two apart.

    Args:
        training_set: What is to be learnt.
        left: Rows that the last fine-tune trained; else rows are fitted to what the version serves for, on its own
            embeddings.
    """
    return left if left is not None and left.names else _probed(training_set, training_set.known())


def first_rows(training_set: TrainingSet, served: LinearRows | None) -> LinearRows:
    """Where the trained rows start: what served, and for a new agent the mean of what it is taught."""
    vectors = training_set.vectors()
    rows = no_rows(vectors.shape[1]) if served is None else served
    targets = targets_of(training_set.samples, {name: row for row, name in enumerate(training_set.names)})
    means = class_means(training_set.names, vectors, targets)
    length = float(np.linalg.norm(rows.weight, axis=1).mean()) if rows.names else 1.0
    return rows.grown(training_set.names, {name: mean * length for name, mean in means.items()})


def _probed(training_set: TrainingSet, which: Sequence[int]) -> LinearRows | None:
    """Rows fitted to some of the samples, for the agents that they name."""
    samples = [training_set.samples[place] for place in which]
    told = {name for sample in samples for name in (sample.label, sample.agent) if name is not None}
    names = tuple(name for name in training_set.names if name in told)
    if len(names) < 2:
        return None
    vectors = training_set.vectors()[list(which)]
    targets = targets_of(samples, {name: row for row, name in enumerate(names)})
    start = no_rows(vectors.shape[1]).grown(names, class_means(names, vectors, targets))
    return probe(start, vectors, targets, exclusive=training_set.exclusive)
