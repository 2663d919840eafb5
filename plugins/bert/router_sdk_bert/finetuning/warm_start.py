"""What somebody else trained becomes a version's encoder, with what later fits must not forget of it.

A checkpoint brings weights alone. The rows that stand for agents, and the Fisher information of all that may move, are
measured on labelled examples, so that the first fit that follows has a teacher, and knows what to hold.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import EncoderUnavailableError, FitError
from router_sdk.private_files import private_folder
from router_sdk_bert.encoding.checkpoint import pickled_files, read_checkpoint
from router_sdk_bert.encoding.encoder import load_encoder
from router_sdk_bert.encoding.sealed_folder import SealedFolder, write_sealed
from router_sdk_bert.finetuning.carried_state import CarriedWeights

if TYPE_CHECKING:
    from router_sdk.plugin import FitContext
    from router_sdk_bert.config import BertConfig
    from router_sdk_bert.encoding.encoder import BertEncoder
    from router_sdk_bert.finetuning.samples import TrainingSet
    from router_sdk_bert.finetuning.stopping import StopWatch


def exported_start(start: Path, settings: BertConfig, context: FitContext) -> BertEncoder:
    """An encoder that serves a checkpoint.

    Args:
        start: Its folder.
        settings: How it is exported, and whether its weights may have been pickled.
        context: Folders, and whether to stop.

    Raises:
        FitError: if it cannot be read or exported, and why.
    """
    from router_sdk_bert.encoding.export import export_encoder
    from router_sdk_bert.encoding.pickled import without_pickles

    try:
        safe = start
        if settings.pickled_weights and not any(start.glob("*.safetensors")) and pickled_files(start):
            safe = without_pickles(start, context.folder / "converted", context.stopped)
        read_checkpoint(safe)
        export_encoder(safe, context.folder / "started", settings.model_copy(update={"model": start.name}))
        return load_encoder(context.folder / "started", settings)
    except EncoderUnavailableError as error:
        hint = "; or let pickled_weights=True (--pickled) do so"
        hint = "" if settings.pickled_weights or not pickled_files(start) else hint
        raise FitError(
            f"it cannot start from {start.name}: {error}{hint}", "it cannot start from the folder"
        ) from error


def measured(
    encoder: BertEncoder,
    training_set: TrainingSet,
    settings: BertConfig,
    context: FitContext,
    watch: StopWatch,
    left: CarriedWeights | None,
) -> Path:
    """The encoder's folder once more, with rows for the agents and the Fisher information of the examples beside it.

    Args:
        encoder: What ``exported_start`` made.
        training_set: Labelled examples, embedded by it.
        settings: From how many examples the Fisher information is estimated, and of what: of matrices, or with
            ``update="full"`` of all weights.
        context: Device, seed and folders.
        watch: Whether to stop.
        left: Rows that came with the checkpoint, such as a classifier's head.

    Raises:
        FitError: if the examples are of one class only.
        FitStoppedError: if the context said so.
    """
    from router_sdk_bert.encoding.torch_backend import load_module
    from router_sdk_bert.finetuning.devices import Room, choose_device, limited_threads
    from router_sdk_bert.finetuning.ewc import FisherEstimate
    from router_sdk_bert.finetuning.fine_tune import first_rows, served_rows
    from router_sdk_bert.finetuning.model import RoutingModel
    from router_sdk_bert.finetuning.samples import targets_of
    from router_sdk_bert.finetuning.training_loop import Objective

    places = {name: row for row, name in enumerate(training_set.names)}
    targets = targets_of(training_set.samples, places)
    if targets.classes() < 2:
        raise FitError("the labelled examples are of one class only; there is nothing to tell apart")
    with limited_threads(settings.torch_threads):
        device = choose_device(context.device)
        rows = first_rows(training_set, served_rows(training_set, None if left is None else left.rows))
        model: Any = RoutingModel(load_module(encoder.folder, encoder.description.pooling), rows)
        room = Room(device, settings.batch_size, model.to, settings.memory_limit_mb)
        model.to(device)
        tokens = [encoder.tokenize([sample.text])[0] for sample in training_set.samples]
        plain = Objective(tokens, targets, training_set.exclusive)
        estimate = FisherEstimate(
            lambda model, which: plain.losses(model, which)[0], training_set, settings, context.seed, room, watch.check
        )
        weights = CarriedWeights(rows, estimate.of_all(model))
    folder = context.folder / "encoder"
    write_sealed(folder, lambda draft: _with_weights(draft, encoder.folder, weights))
    return folder


def _with_weights(draft: Path, source: Path, weights: CarriedWeights) -> None:
    for name in SealedFolder(source).entries:
        private_folder((draft / name).parent)
        shutil.copyfile(source / name, draft / name)
    weights.save(draft)
