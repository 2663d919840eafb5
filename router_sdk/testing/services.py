"""What a strategy gets at construction, for tests; an encoder that needs no model."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from router_sdk.strategy import Encoder, EncoderConfig, StrategyServices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def make_services(
    folder: Path | None = None, *, encoders: Mapping[str, Encoder] | None = None, seed: int | None = 0
) -> StrategyServices:
    """Services for one strategy.

    Args:
        folder: The strategy's own folder; None suits a strategy that keeps no caches, and names one that
            does not exist.
        encoders: Encoders by name.
        seed: Seed of the strategy's own generator, or None for fresh entropy.
    """
    return StrategyServices(
        folder=folder if folder is not None else Path("no-folder-was-given"),
        encoders=dict(encoders or {}),
        logger=logging.getLogger("router_sdk.testing"),
        seed=seed,
    )


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
