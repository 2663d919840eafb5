"""What a version hands on to the next besides tensors: a part of the strategy's state, read and written without torch.

It holds texts, so it stands beside the head and not beside the encoder: what is written there is never changed, and
texts must be forgotten on demand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.files import write_private
from router_sdk_bert.finetuning.samples import Sample

FILE = "carried.json"
OLD_FILE = "keepsakes.json"
"""The same file as an earlier release wrote it, beside the encoder."""


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
