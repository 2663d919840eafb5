"""The state of a fit after each epoch, on disk, from which an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.finetuning.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

    from router_sdk_bert.finetuning.samples import Sample

logger = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints on disk: the newest, and the one before in case the newest is torn."""


@dataclass(slots=True)
class Progress:
    """How far a fit has come.

    Attributes:
        epoch: Epochs done.
        best_epoch: The one with the lowest held-out loss; 0 while there is none.
        best_loss: Its held-out loss, or None where nothing is held out.
        curve: One point for each epoch.
        losses: Newest training loss of each decision, where the replay buffer wants to know.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class TrainingState:
    """Everything that the next epoch depends on.

    Attributes:
        progress: How far the fit has come.
        weights: Moving parameters by name, as they are.
        best: The same, at the best epoch.
        optimizer: The optimiser's tensors by name.
    """

    progress: Progress
    weights: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


class Checkpoints:
    """Keeps the newest states of one fit.

    Args:
        folder: Where they lie; None keeps none.
        fingerprint: Says which fit they belong to; those of another one are not used.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch, and drop all but the newest."""
        if self._folder is None:
            return
        tensors = {
            f"{part}/{name}": value
            for part, values in (("weights", state.weights), ("best", state.best), ("optimizer", state.optimizer))
            for name, value in values.items()
        }
        facts = {"fingerprint": self._fingerprint, "progress": asdict(state.progress)}
        write_tensors(self._folder / f"epoch-{state.progress.epoch:04d}", tensors, facts)
        for path in self._newest_first()[KEPT:]:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)

    def newest(self) -> TrainingState | None:
        """The newest whole state of this fit, or None."""
        for path in self._newest_first():
            try:
                tensors, facts = read_tensors(path.with_suffix(""))
            except CorruptArtifactError as error:
                logger.warning("a checkpoint is not used: %s", error)
                continue
            if facts.get("fingerprint") == self._fingerprint:
                return _state_of(tensors, facts)
        return None

    def _newest_first(self) -> list[Path]:
        if self._folder is None:
            return []
        return sorted(self._folder.glob("epoch-*.json"), reverse=True)


def _state_of(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> TrainingState:
    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, key = name.partition("/")
        parts[part][key] = value
    return TrainingState(Progress(**facts["progress"]), **parts)


def fingerprint_of(settings: Mapping[str, Any], samples: Sequence[Sample], seed: int, *, encoder: str) -> str:
    """Identifies a fit: the same settings, samples, seed and encoder give the same result."""
    digest = hashlib.sha256(json.dumps([settings, seed, encoder], sort_keys=True, default=str).encode())
    for one in samples:
        parts = (one.decision_id, one.text, one.label, one.labelled, one.agent, one.reward, one.weight, one.fresh)
        digest.update(json.dumps([*parts, one.synthetic]).encode())
    return digest.hexdigest()
