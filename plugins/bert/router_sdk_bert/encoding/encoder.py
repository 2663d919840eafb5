"""The encoder that strategies ask for by the name ``bert``."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import numpy as np

from router_sdk.plugin import Encoder, EncoderConfig, EncoderUnavailableError
from router_sdk_bert.config import Backend, EncoderSettings
from router_sdk_bert.encoding.checkpoint import EncoderDescription
from router_sdk_bert.encoding.opening import Opened, Stopped, open_folder, read_opened

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from router_sdk.numerics.request_finding import RequestFinder
    from router_sdk.plugin import Example, Kept

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 60.0
BATCH = 64
"""Texts that are embedded at once."""


class BertEncoderConfig(EncoderConfig, EncoderSettings):
    """What ``[encoder.bert]`` may say."""

    cache: Path | None = None
    """Where exported models are kept; None is a folder of the user's, shared by all routers."""


class BertEncoder(Encoder):
    """A transformer's embedding of a text, scaled to length 1.

    Made by its configuration alone it opens, and at the first time exports, its model when it is first used: ask for
    ``tag`` in ``prepare`` to have that behind you before a request comes.

    Args:
        config: Which model, and how.
        opened: What ``load_encoder`` read; None opens the configured model at first use.
        kept: What makes its folder last for as long as somebody uses the encoder.
    """

    name: ClassVar[str] = "bert"
    Config: ClassVar[type[EncoderConfig]] = BertEncoderConfig

    def __init__(self, config: EncoderConfig, opened: Opened | None = None, kept: Kept | None = None) -> None:
        super().__init__(config)
        if not isinstance(config, BertEncoderConfig):
            raise TypeError(f"expected a BertEncoderConfig, got a {type(config).__name__}")
        self._settings = config
        self._known: Opened | None = None
        self._kept = kept
        self._failed: tuple[float, EncoderUnavailableError] | None = None
        self.after_fork()
        _made.add(self)
        if opened is not None:
            self._take(opened)

    def after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = threading.RLock()

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """One vector of shape ``(d,)`` and length 1 per text, in single precision; may be called from any thread.

        Under int8 a vector depends on its text alone; in the other precisions its last bits depend on the batch.

        Raises:
            EncoderUnavailableError: if the model was not opened yet, and cannot be.
        """
        opened = self._known or self._open()
        return opened.run([opened.tokens(text) for text in texts])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids as ``encode`` sees them: prepared, cut, with special tokens. For training on the same input."""
        opened = self._known or self._open()
        return [opened.tokens(text) for text in texts]

    @property
    def tag(self) -> str:
        """``bert-<digest>:<precision>``: equal only where vectors may be compared."""
        return (self._known or self._open()).tag

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return (self._known or self._open()).description.dimension

    @property
    def folder(self) -> Path:
        """Where the exported files stand."""
        return (self._known or self._open()).folder

    @property
    def backend(self) -> Backend:
        """What serves."""
        return (self._known or self._open()).backend

    @property
    def description(self) -> EncoderDescription:
        """What the export noted."""
        return (self._known or self._open()).description

    @property
    def status(self) -> Mapping[str, Any]:
        """Which back-end serves, and what the comparison with torch said. Opens nothing."""
        opened = self._known
        if opened is None:
            return {"backend": None, "note": str(self._failed[1]) if self._failed else "not opened yet"}
        return {
            "backend": opened.backend,
            "tag": opened.tag,
            "model": opened.description.model,
            "checks": [check.model_dump() for check in opened.description.checks],
            "note": opened.note,
        }

    def _open(self) -> Opened:
        """Open the configured model; for a while after a failure the same error is raised at once."""
        with self._lock:
            if self._known is not None:
                return self._known
            if self._failed and time.monotonic() - self._failed[0] < _RETRY_AFTER_S:
                raise self._failed[1]
            try:
                return self._take(open_folder(self._settings, self._settings.cache))
            except EncoderUnavailableError as error:
                self._failed = (time.monotonic(), error)
                raise

    def _take(self, opened: Opened) -> Opened:
        self.precision = opened.run.precision
        self._known = opened
        if opened.note:
            logger.info("encoder %s: %s", opened.description.model, opened.note)
        return opened


_made: WeakSet[BertEncoder] = WeakSet()


def _in_child() -> None:
    for encoder in list(_made):
        encoder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def open_encoder(settings: EncoderSettings, cache: Path | None = None, stopped: Stopped = lambda: False) -> BertEncoder:
    """An encoder for the configured model, from the cache if it was exported before.

    Then neither torch nor the network is touched. Otherwise a child process finds the weights and exports them, and
    whoever asks for the same meanwhile waits for it. A cached export that is damaged is made anew.

    Args:
        settings: Which model, and how.
        cache: Where exports are kept; None is a folder of the user's, shared by all routers.
        stopped: Asked often; once True the wait for an export is given up, and one that is being made is ended.

    Raises:
        EncoderUnavailableError: if there are no weights, they are not what they should be, what exports them is not
            installed, or it was given up.
        CorruptArtifactError: if the model is an exported folder that is damaged.
    """
    return BertEncoder(_config(settings, cache), open_folder(settings, cache, stopped))


def load_encoder(folder: Path, settings: EncoderSettings, kept: Kept | None = None) -> BertEncoder:
    """Serve from an exported folder; needs onnxruntime and tokenizers alone, unless torch serves.

    Args:
        folder: What ``export_encoder`` wrote.
        settings: How texts are cut and prepared, and which back-end is wanted; what the folder does not hold is
            replaced by what it does, and ``status`` says so.
        kept: What makes the folder last; it is held for as long as the encoder is.

    Raises:
        CorruptArtifactError: if a file is missing or is not what was written.
        EncoderUnavailableError: if a library is missing.
    """
    return BertEncoder(_config(settings), read_opened(folder, settings), kept)


def _config(settings: EncoderSettings, cache: Path | None = None) -> BertEncoderConfig:
    chosen = {name: getattr(settings, name) for name in EncoderSettings.model_fields}
    return BertEncoderConfig(**chosen, cache=cache)


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


def vectors_of(
    encoder: Encoder, examples: Sequence[Example], requests: RequestFinder
) -> list[NDArray[np.float32] | None]:
    """One vector per example, in order; None where neither a vector of this encoder nor a text is known.

    Args:
        encoder: What makes those that are not logged.
        examples: What was told.
        requests: Learns their texts, and finds the requests in long ones by those before.
    """
    found = [_usable(example.vectors.get(encoder.tag)) for example in examples]
    told = {}
    for place, example in enumerate(examples):
        if found[place] is None and (text := example.task.text).strip():
            told[place] = requests.evidence.passage(text)
        if example.previous is None and requests.asks(example.decision_id):
            requests.learn(example.task.text)
    for place, vector in zip(told, embed(encoder, list(told.values())), strict=True):
        found[place] = _usable(vector)
    return found


def _usable(vector: NDArray[Any] | None) -> NDArray[np.float32] | None:
    """A vector that says something, in single precision."""
    if vector is None or not np.isfinite(vector).all() or not np.any(vector):
        return None
    return np.asarray(vector, dtype=np.float32)
