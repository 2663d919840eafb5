"""What one fit hands on to the next that no tensor holds; read and written without torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_sdk_bert.fitting.samples import Sample

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

FILE = "keepsakes.json"
_KEPT_OF_A_SAMPLE = ("decision_id", "text", "label", "labelled", "agent", "reward", "weight", "at")


@dataclass(slots=True, frozen=True)
class Keepsakes:
    """Beside an encoder: how far it has seen the log, and examples that stand in no log.

    Attributes:
        upto: Position in the log up to which an encoder was trained on examples.
        synthetic: Examples of the pre-training.
    """

    upto: int = 0
    synthetic: Sequence[Sample] = ()

    def save(self, folder: Path) -> None:
        """Write them beside an encoder."""
        kept = [{name: getattr(sample, name) for name in _KEPT_OF_A_SAMPLE} for sample in self.synthetic]
        (folder / FILE).unlink(missing_ok=True)  # It may be a link to that of an older version.
        (folder / FILE).write_text(json.dumps({"upto": self.upto, "synthetic": kept}, allow_nan=False), "utf-8")


def load_keepsakes(folder: Path | None) -> Keepsakes:
    """What was handed on with an encoder; nothing where there is none, or it cannot be read."""
    if folder is None or not (folder / FILE).exists():
        return Keepsakes()
    try:
        facts = json.loads((folder / FILE).read_text("utf-8"))
        synthetic = [Sample(**fields, fresh=False, synthetic=True) for fields in facts["synthetic"]]
        return Keepsakes(int(facts["upto"]), synthetic)
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("what the last fit handed on cannot be read, so this one starts anew: %s", error)
        return Keepsakes()
