"""Reads an exported folder: every file checked, tokenizer and back-end ready to serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from router_sdk.plugin import CorruptArtifactError, no_fork
from router_sdk_bert.encoding.description import (
    DESCRIPTION,
    MODEL_FILES,
    EncoderDescription,
    Precision,
    read_description,
)
from router_sdk_bert.encoding.onnx_backend import OnnxSession
from router_sdk_bert.encoding.sealed_folder import SealedFolder
from router_sdk_bert.encoding.settings import Backend, EncoderSettings
from router_sdk_bert.encoding.tokenizer import TextTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOKENIZER = "tokenizer.json"
_FIRST = "a first text is always slow"


class Runner(Protocol):
    """What turns token ids into normalised vectors."""

    precision: Precision

    def __call__(self, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """One vector of shape ``(d,)`` per text."""


@dataclass(frozen=True)
class Opened:
    """An exported folder, ready to serve.

    Attributes:
        folder: Where it stands.
        description: Its ``encoder.json``.
        tokens: Texts to ids.
        run: Ids to vectors.
        backend: What ``run`` is.
        tag: Under which its vectors are logged.
        note: What is not as it was asked for; empty if all is.
    """

    folder: Path
    description: EncoderDescription
    tokens: TextTokens
    run: Runner
    backend: Backend
    tag: str
    note: str


def read_opened(folder: Path, settings: EncoderSettings) -> Opened:
    """Get an exported folder ready to serve. A fork waits until it is.

    Raises:
        CorruptArtifactError: if a file is missing, is not what was written, or makes nothing of a text.
        EncoderUnavailableError: if a library is missing.
    """
    with no_fork():
        return _read(SealedFolder(folder), settings)


def _read(sealed: SealedFolder, settings: EncoderSettings) -> Opened:
    description = read_description(sealed.read(DESCRIPTION))
    longest = min(settings.max_tokens, description.longest)
    tokens = TextTokens(sealed.read(_TOKENIZER), longest, settings.preparation, description.prompt)
    backend = _usable(settings.wanted_backend, description, sealed)
    run = _runner(backend, description, sealed)
    _try(run, tokens, description.dimension)
    return Opened(
        folder=sealed.path,
        description=description,
        tokens=tokens,
        run=run,
        backend=backend,
        tag=description.tag(settings, sealed.digest(_TOKENIZER), run.precision),
        note=_note(settings.wanted_backend, backend, description),
    )


def _usable(wanted: Backend, description: EncoderDescription, sealed: SealedFolder) -> Backend:
    failed = any(check.backend == wanted and not check.passed for check in description.checks)
    if not failed and (wanted == "torch" or MODEL_FILES[wanted] in sealed):
        return wanted
    return description.backend


def _runner(backend: Backend, description: EncoderDescription, sealed: SealedFolder) -> Runner:
    if backend != "torch":
        return OnnxSession(sealed.read(MODEL_FILES[backend]), "int8" if backend == "onnx-int8" else "fp32")
    from router_sdk_bert.encoding.module import load_module
    from router_sdk_bert.encoding.torch_backend import TorchBackend

    return TorchBackend(load_module(sealed.path, description.pooling))


def _try(run: Runner, tokens: TextTokens, dimension: int) -> None:
    """See that a text becomes a vector: the files are whole, but somebody else may have written them."""
    try:
        (vector,) = run([tokens(_FIRST)])
    except Exception as error:  # The libraries' own exceptions share no base but Exception.
        raise CorruptArtifactError(f"the encoder makes nothing of a text: {error}") from error
    if vector.shape != (dimension,) or not np.isfinite(vector).all():
        raise CorruptArtifactError(f"the encoder makes vectors of shape {vector.shape} that are not what it states")


def _note(wanted: Backend, backend: Backend, description: EncoderDescription) -> str:
    if wanted == backend:
        return ""
    failed = next((check for check in description.checks if check.backend == wanted and not check.passed), None)
    if failed is None:
        return f"{backend} serves: the folder was exported without {wanted}"
    if failed.problem:
        return f"{backend} serves: {wanted} {failed.problem}"
    return (
        f"{backend} serves: {wanted} agrees with torch on {failed.agreement:.1%} of choices only, "
        f"with a mean cosine of {failed.cosine:.4f}"
    )
