"""Sparse features of a text without any model: hashed words, pairs of words and character 4-grams.

Half of the 2**16 ids belong to words and pairs, half to character grams. Words and pairs are hashed by crc32; a gram
of four bytes is a 32-bit number as it stands, which one multiplication hashes (Knuth, 1973, section 6.4), so that all
grams of a text take a few array operations. Where a script puts no spaces between words, pairs of characters count as
words, too. The router logs the ids with the decision: a replay does not hash again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import numpy as np

from router_sdk.plugin import DEFAULT_TASK_TYPE, Encoder, normal, unspaced_pairs
from router_sdk_thompson.features.design import TYPE_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import FeatureValue

FEATURES = 1 << 16
HALF = FEATURES >> 1
MASK = HALF - 1
GRAM = 4
GOLDEN = np.uint32(2_654_435_761)
"""2**32 divided by the golden ratio: its multiples spread evenly in the upper bits."""
SHIFT = np.uint32(17)
"""Leaves the upper 15 of 32 bits."""
GRAMS = np.uint32(HALF)
LONGEST = 4_000
"""Characters of a text that are looked at."""


def text_ids(text: str) -> NDArray[np.uint16]:
    """Distinct feature ids of a text, ascending."""
    shown = normal(text[: 2 * LONGEST].lower())[:LONGEST]  # letters and their marks may stand apart
    raw = shown.encode()
    words = raw.split()
    hashed = [*map(crc32, words)]
    # A pair is the second word's hash, started from the first one's.
    hashed += map(crc32, words[1:], hashed)
    hashed += [crc32(pair.encode()) for pair in unspaced_pairs(shown)]
    padded = b" %b " % raw
    grams = max(len(padded) - GRAM + 1, 0)
    ids = np.empty(grams + len(hashed), dtype=np.uint32)
    # Overlapping windows: each of the text's bytes starts a number of four.
    np.multiply(np.ndarray((grams,), "<u4", padded, 0, (1,)), GOLDEN, ids[:grams])
    ids[grams:] = hashed
    ids >>= SHIFT
    ids[:grams] |= GRAMS
    ids.sort()
    fresh = np.ones(len(ids), dtype=bool)
    np.not_equal(ids[1:], ids[:-1], fresh[1:])
    return ids[fresh].astype(np.uint16)


def extra_ids(features: Mapping[str, FeatureValue]) -> list[int]:
    """Feature ids of what else is known of a task; numbers fall into bins of half a power of two."""
    ids = []
    for name, value in features.items():
        if isinstance(value, (bool, str)):
            told = str(value)
        else:
            told = f"{'-' if value < 0 else ''}{round(2.0 * float(np.log2(1.0 + abs(value))))}"
        ids.append(crc32(f"\0{normal(name)}={normal(told)}".encode()) & MASK)
    return ids


def with_extras(ids: NDArray[Any], task_type: str, features: Mapping[str, FeatureValue]) -> NDArray[np.intp]:
    """A text's feature ids, which ascend, together with those of the task's type and features."""
    if not features:
        return ids.astype(np.intp) if task_type == DEFAULT_TASK_TYPE else _with(ids, _id_of(task_type))
    extra = extra_ids(features)
    if task_type != DEFAULT_TASK_TYPE:
        extra.append(_id_of(task_type))
    return np.array(sorted({*ids.tolist(), *extra}), dtype=np.intp)


def _with(ids: NDArray[Any], one: int) -> NDArray[np.intp]:
    count, place = len(ids), int(ids.searchsorted(one))
    if place < count and ids[place] == one:
        return ids.astype(np.intp)
    found = np.empty(count + 1, np.intp)
    found[:place], found[place], found[place + 1 :] = ids[:place], one, ids[place:]
    return found


@lru_cache(1_024)
def _id_of(task_type: str) -> int:
    return extra_ids({TYPE_COLUMN: task_type})[0]


class TextFeatures(Encoder):
    """Feature ids of texts, for any strategy that likes them sparse."""

    name: ClassVar[str] = "thompson-text"
    precision = "hash16"

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Distinct feature ids per text, ascending, as uint16."""
        return [text_ids(text) for text in texts]


TEXT_ENCODER = TextFeatures(TextFeatures.Config())
