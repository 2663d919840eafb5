"""Text to vector with the *hashing trick* (Weinberger et al., 2009): no vocabulary, the same in every process."""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int) -> Vector:
    """Signed word counts of length 1, shape ``(dimensions,)``; zeros for a text without words."""
    vector = np.zeros(dimensions, dtype=np.float32)
    for word in _WORD.findall(text.lower()):
        # ``hash`` is salted by each process; a checksum is not, so saved vectors stay comparable.
        code = zlib.crc32(word.encode())
        vector[(code >> 1) % dimensions] += 1.0 if code & 1 else -1.0
    length = float(np.sqrt(vector @ vector))
    return vector / np.float32(length) if length else vector
