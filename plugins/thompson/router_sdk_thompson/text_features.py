"""Sparse features of a text without any model: hashed words, pairs of words and character 4-grams.

Half of the 2**16 ids belong to words and pairs, half to character grams. The router logs the ids with the decision,
so that a replay does not hash again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import numpy as np

from router_sdk.plugin import Encoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import FeatureValue

FEATURES = 1 << 16
HALF = FEATURES >> 1
MASK = HALF - 1
GRAM = 4
LONGEST = 4_000
"""Characters of a text that are looked at."""


def text_ids(text: str) -> NDArray[np.uint16]:
    """Distinct feature ids of a text, ascending."""
    raw = text[:LONGEST].lower().encode()
    words = raw.split()
    ids = {hashed & MASK for hashed in map(crc32, words)}
    ids.update([crc32(second, crc32(first + b"\0")) & MASK for first, second in pairwise(words)])
    padded = b" %b " % raw
    ids.update(
        [crc32(padded[start : start + GRAM]) & MASK | HALF for start in range(len(padded) - GRAM + 1)],
    )
    return np.array(sorted(ids), dtype=np.uint16)


def extra_ids(features: Mapping[str, FeatureValue]) -> list[int]:
    """Feature ids of what else is known of a task; numbers fall into bins of half a power of two."""
    ids = []
    for name, value in features.items():
        if isinstance(value, (bool, str)):
            told = str(value)
        else:
            told = f"{'-' if value < 0 else ''}{round(2.0 * float(np.log2(1.0 + abs(value))))}"
        ids.append(crc32(f"\0{name}={told}".encode()) & MASK)
    return ids


class TextFeatures(Encoder):
    """Feature ids of texts, for any strategy that likes them sparse."""

    name: ClassVar[str] = "thompson-text"
    precision = "ids16"

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Distinct feature ids per text, ascending, as uint16."""
        return [text_ids(text) for text in texts]


TEXT_TAG = f"{TextFeatures.name}:{TextFeatures.precision}"
