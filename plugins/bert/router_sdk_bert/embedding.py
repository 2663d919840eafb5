"""The embedding of each example: as it was logged, else made of the text, else none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import EncoderUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import Encoder, Example

BATCH = 64
"""Texts that are embedded at once."""


def embed(
    encoder: Encoder, texts: Sequence[str], stopped: Callable[[], bool] = lambda: False
) -> list[NDArray[np.float32]]:
    """Embeddings of many texts, a batch at a time.

    Raises:
        EncoderUnavailableError: if it was stopped between two batches.
    """
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), BATCH):
        if stopped():
            raise EncoderUnavailableError("nobody needs the encoder any more")
        vectors = encoder.encode(texts[start : start + BATCH])
        found += [np.asarray(vector, dtype=np.float32) for vector in vectors]
    return found


def vectors_of(encoder: Encoder, examples: Sequence[Example]) -> list[NDArray[np.float32] | None]:
    """One vector per example, in order; None where neither a vector of this encoder nor a text is known."""
    found = [_usable(example.vectors.get(encoder.tag)) for example in examples]
    texts = {place: examples[place].task.text for place, vector in enumerate(found) if vector is None}
    told = {place: text for place, text in texts.items() if text.strip()}
    for place, vector in zip(told, embed(encoder, list(told.values())), strict=True):
        found[place] = _usable(vector)
    return found


def _usable(vector: NDArray[Any] | None) -> NDArray[np.float32] | None:
    """A vector that says something, in single precision."""
    if vector is None or not np.isfinite(vector).all() or not np.any(vector):
        return None
    return np.asarray(vector, dtype=np.float32)
