"""What one fit leaves to the next, beside the encoder that it made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.finetuning.linear import SCALE, LinearRows
from router_sdk_bert.finetuning.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

FILE = "continual"
FISHER = "fisher/"


@dataclass(slots=True, frozen=True)
class ContinualState:
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
        write_tensors(folder / FILE, tensors, {"agents": list(self.rows.names)})


def load_state(folder: Path | None) -> ContinualState | None:
    """What the fit that made this encoder left, or None if none did.

    An encoder that came with a classifier's head was trained with that.
    """
    if folder is None:
        return None
    if not (folder / f"{FILE}.json").exists():
        return _of_classifier(folder)
    try:
        tensors, facts = read_tensors(folder / FILE)
        names = tuple(str(name) for name in facts["agents"])
        rows = LinearRows(names, tensors["weight"].numpy(), tensors["bias"].numpy())
        if rows.weight.ndim != 2 or rows.bias.shape != (len(names),) or len(rows.weight) != len(names):
            raise ValueError("the rows do not fit their names")
        fisher = {name.removeprefix(FISHER): value for name, value in tensors.items() if name.startswith(FISHER)}
        return ContinualState(rows, fisher)
    except (CorruptArtifactError, KeyError, TypeError, ValueError) as error:
        logger.warning("what the last fit left cannot be read, so this one starts anew: %s", error)
        return None


def _of_classifier(folder: Path) -> ContinualState | None:
    from router_sdk_bert.encoding.classifier import read_classifier

    found: Any = read_classifier(folder)
    if found is None:
        return None
    weight = (found.norm / SCALE * found.weight).astype(np.float32)
    return ContinualState(LinearRows(tuple(found.labels), weight, found.bias.astype(np.float32)))
