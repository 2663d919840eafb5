"""An encoder that needs no model: for strategies that ask for a vector."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from router_sdk.strategy import Encoder, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class HashedWordsConfig(EncoderConfig):
    """How wide the vectors are."""

    dimensions: int = Field(default=64, ge=1)


class HashedWordsEncoder(Encoder):
    """Unit vectors of hashed word counts (the *hashing trick*, Weinberger et al., 2009), equal in every process."""

    name: ClassVar[str] = "hashed-words"
    Config: ClassVar[type[EncoderConfig]] = HashedWordsConfig

    def __init__(self, config: EncoderConfig | None = None) -> None:
        settings = HashedWordsConfig() if config is None else config
        super().__init__(settings)
        self._dimensions = settings.dimensions if isinstance(settings, HashedWordsConfig) else 64

    def encode(self, texts: Sequence[str]) -> Sequence[NDArray[Any]]:
        """One float32 vector of shape ``(dimensions,)`` per text; zeros for a text without words."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self._dimensions, dtype=np.float32)
        for word in text.lower().split():
            code = zlib.crc32(word.encode())
            vector[(code >> 1) % self._dimensions] += 1.0 if code & 1 else -1.0
        length = float(np.linalg.norm(vector))
        return vector / np.float32(length) if length else vector
