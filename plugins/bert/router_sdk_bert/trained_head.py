"""The head that an encoder's checkpoint came with, as rows that ours starts from."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.encoding.classifier import read_classifier
from router_sdk_bert.head.trained_rows import TrainedRows

if TYPE_CHECKING:
    from router_sdk.plugin import Encoder

logger = logging.getLogger(__name__)


def trained_with(encoder: Encoder) -> TrainedRows | None:
    """The rows of a sequence-classification checkpoint, by label; None for an encoder that came without."""
    folder: Path | None = getattr(encoder, "folder", None)
    return None if folder is None else _read(folder, encoder.tag)


@lru_cache(maxsize=4)
def _read(folder: Path, tag: str) -> TrainedRows | None:
    try:
        found = read_classifier(folder)
    except CorruptArtifactError as error:
        logger.warning("the head that the encoder came with is left aside: %s", error)
        return None
    return None if found is None else TrainedRows(found.labels, found.norm * found.weight, found.bias)
