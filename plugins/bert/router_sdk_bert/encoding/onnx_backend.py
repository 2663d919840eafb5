"""Runs an exported encoder with onnxruntime, on one thread and without padding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError, EncoderUnavailableError, no_fork
from router_sdk_bert.config import Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 64
_INPUT, _OUTPUT = "input_ids", "vector"


class OnnxSession:
    """An exported encoder.

    Its graph knows no padding: only texts of one length share a run. Dynamic int8 scales activations over all that
    a run holds, so that a text's vector would depend on its neighbours; there each text runs alone, and its vector
    depends on the text and nothing else, unless it is told otherwise. (On one thread a batch of very short texts is
    twice as fast, one of 32 tokens and more hardly faster at all.)

    Args:
        content: The ONNX model.
        precision: Of its matrix products.
        int8_batches: Whether texts of one length share a run under int8, too.

    Raises:
        CorruptArtifactError: if it cannot be read.
        EncoderUnavailableError: if onnxruntime is not installed.
    """

    def __init__(self, content: bytes, precision: Precision, *, int8_batches: bool = False) -> None:
        with no_fork():
            self._session = _session_of(content)
        self.precision = precision
        self._batch = 1 if precision == "int8" and not int8_batches else _BATCH

    def __call__(self, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Normalised vectors, shape ``(d,)`` each."""
        if self._batch == 1 or len(tokens) == 1:
            return [self._run([ids])[0] for ids in tokens]
        vectors: list[Any] = [None] * len(tokens)
        for group in _of_one_length(tokens, self._batch):
            for position, vector in zip(group, self._run([tokens[i] for i in group]), strict=True):
                vectors[position] = vector
        return vectors

    def _run(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._session.run([_OUTPUT], {_INPUT: np.array(tokens, dtype=np.int64)})[0]
        return found


def runtime() -> Any:
    """onnxruntime, without the usage data that it would report.

    Its builds for Linux and macOS start a thread for that when they are imported, from 1.29 on; a forked child, which
    has not got the thread, does not come to its end. It stays off unless ``ORT_DISABLE_TELEMETRY`` says otherwise.

    Raises:
        EncoderUnavailableError: if it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderUnavailableError("onnxruntime is not installed: pip install router-sdk-bert") from error
    return onnxruntime


def _session_of(content: bytes) -> Any:
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    # More threads would answer sooner on an idle machine, and far later on a busy one.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # The library's own exceptions share no base but Exception.
        raise CorruptArtifactError(f"the ONNX model cannot be read: {error}") from error


def _of_one_length(tokens: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Positions of texts of the same length, in groups of at most ``size``."""
    by_length: dict[int, list[int]] = {}
    for position, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(position)
    return [group[start : start + size] for group in by_length.values() for start in range(0, len(group), size)]
