"""What one version hands on to the next, beside its head: examples that stand in no log, and tensors."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_sdk.plugin import CorruptArtifactError
from router_sdk.private_files import write_private
from router_sdk_bert.finetuning.model import LinearRows
from router_sdk_bert.finetuning.samples import Sample
from router_sdk_bert.finetuning.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

FILE = "carried.json"
OLD_FILE = "keepsakes.json"
"""The same file as an earlier release wrote it, beside the encoder."""
BESIDE_ENCODER = 2
"""Version of that release's states."""
WEIGHTS_FILE = "continual"
FISHER = "fisher/"


class _Example(BaseModel):
    """One example of the pre-training, as it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    decision_id: str
    text: str
    label: str | None = None
    labelled: bool = False
    agent: str | None = None
    reward: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    weight: float = Field(default=1.0, ge=0.0)
    at: float = 0.0


class _Content(BaseModel):
    """The file."""

    # What is wrong is said without the texts: an error ends in logs.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    upto: int = Field(ge=0)
    synthetic: tuple[_Example, ...]


@dataclass(slots=True, frozen=True)
class CarriedState:
    """How far the encoder has seen the log, and examples that stand in no log.

    Attributes:
        upto: Position in the log up to which the encoder was trained on examples.
        synthetic: Examples of the pre-training, without vectors: the next encoder makes its own.
    """

    upto: int = 0
    synthetic: tuple[Sample, ...] = ()

    def with_synthetic(self, samples: Collection[Sample]) -> CarriedState:
        """The same with other examples of a pre-training."""
        return replace(self, synthetic=tuple(replace(one, fresh=False, synthetic=True, vector=None) for one in samples))

    def without(self, decision_ids: Collection[str]) -> CarriedState:
        """The same without the examples of these decisions."""
        gone = frozenset(decision_ids)
        return replace(self, synthetic=tuple(one for one in self.synthetic if one.decision_id not in gone))

    def save(self, folder: Path) -> None:
        """Write it into the folder of a state."""
        examples = tuple(
            _Example(**{name: getattr(one, name) for name in _Example.model_fields}) for one in self.synthetic
        )
        content = _Content(upto=self.upto, synthetic=examples)
        write_private(folder / FILE, content.model_dump_json().encode())


def load_carried(path: Path) -> CarriedState:
    """Read what ``save`` wrote.

    Raises:
        CorruptArtifactError: if it cannot be read, or is not what was written.
    """
    try:
        found = _Content.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CorruptArtifactError(f"{path.name} cannot be read: {error}") from error
    samples = (Sample(**dict(one), fresh=False, synthetic=True) for one in found.synthetic)
    return CarriedState(found.upto, tuple(samples))


def carried_in(state: Path, encoder: Path | None) -> CarriedState:
    """What a saved state carries; of states of version ``BESIDE_ENCODER`` it lies in the encoder's folder.

    Raises:
        CorruptArtifactError: if it cannot be read.
    """
    if encoder is None:
        return load_carried(state / FILE)
    return load_carried(encoder / OLD_FILE) if (encoder / OLD_FILE).is_file() else CarriedState()


@dataclass(slots=True, frozen=True)
class CarriedWeights:
    """What the next fit starts from, and what it must not forget.

    Attributes:
        rows: The linear rows that were trained with the encoder: the next teacher's. Empty where none were.
        fisher: Fisher information of all fits so far by parameter name; empty where it was not asked for. Rows of
            the head are in the order of ``rows.names``.
    """

    rows: LinearRows
    fisher: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it beside an encoder. Fisher information is kept in bf16: its size matters, not its digits."""
        import torch

        tensors = {f"{FISHER}{name}": value.to(torch.bfloat16) for name, value in self.fisher.items()}
        tensors |= {"weight": torch.as_tensor(self.rows.weight), "bias": torch.as_tensor(self.rows.bias)}
        write_tensors(folder / WEIGHTS_FILE, tensors, {"agents": list(self.rows.names)})


def has_weights(folder: Path) -> bool:
    """Whether a fit made this encoder."""
    return (folder / f"{WEIGHTS_FILE}.json").exists()


def load_weights(folder: Path) -> CarriedWeights | None:
    """What the fit that made this encoder left, or None if none did."""
    if not has_weights(folder):
        return None
    try:
        tensors, facts = read_tensors(folder / WEIGHTS_FILE)
        names = tuple(str(name) for name in facts["agents"])
        rows = LinearRows(names, tensors["weight"].numpy(), tensors["bias"].numpy())
        if rows.weight.ndim != 2 or rows.bias.shape != (len(names),) or len(rows.weight) != len(names):
            raise ValueError("the rows do not fit their names")
        fisher = {name.removeprefix(FISHER): value for name, value in tensors.items() if name.startswith(FISHER)}
        return CarriedWeights(rows, fisher)
    except (CorruptArtifactError, KeyError, TypeError, ValueError) as error:
        logger.warning("what the last fit left cannot be read, so this one starts anew: %s", error)
        return None
