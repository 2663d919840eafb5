"""Whether an encoder says what its makers' pipeline says: over texts that have a nearest other text each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.encoding.description import BackendCheck
from router_sdk_bert.encoding.settings import Backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_COSINE = 0.98
LEAST_AGREEMENT = 0.98
LEAST_DIFFERENCE = 1e-3
"""Between numbers of two vectors of length 1, in single precision, that are not the same but for rounding."""
_TIE = 0.01
_SAME = 1e-5
_COLLAPSED = 0.05
"""Share of the texts that may get the vector of another text."""


def compare(backend: Backend, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> BackendCheck:
    """Compare normalised vectors of the same texts.

    Args:
        backend: Which one made the candidates.
        reference: Of the folder's own pipeline, shape ``(n, d)``.
        candidate: The back-end's, shape ``(n, d)``.
    """
    rows = np.arange(len(reference))
    near, also_near = _similarities(reference), _similarities(candidate)
    choice, chosen = near.argmax(1), also_near.argmax(1)
    cosine = float((reference * candidate).sum(1).mean())
    top1 = float((choice == chosen).mean())
    agreement = float((near[rows, chosen] >= near[rows, choice] - _TIE).mean())
    finite = bool(np.isfinite(candidate).all())
    return BackendCheck(
        backend=backend,
        cosine=round(cosine, 6) if finite else -1.0,
        top1=top1,
        agreement=agreement,
        passed=finite and cosine >= LEAST_COSINE and agreement >= LEAST_AGREEMENT,
    )


def compare_exactly(backend: Backend, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> BackendCheck:
    """The same, of a back-end that runs the same operators: it must give the same vectors.

    It runs texts of different lengths together, so that what fails here makes a text's vector depend on its neighbours.
    """
    apart = float(np.abs(reference - candidate).max())
    found = compare(backend, reference, candidate)
    if apart <= LEAST_DIFFERENCE:
        return found.model_copy(update={"passed": True})
    problem = f"gives a text another vector in a batch: a number differs by {apart:.2g}"
    return found.model_copy(update={"passed": False, "problem": problem})


def not_comparable(backend: Backend, problem: str) -> BackendCheck:
    """A back-end that gave no vectors at all."""
    return BackendCheck(backend=backend, cosine=-1.0, top1=0.0, agreement=0.0, passed=False, problem=problem)


def told_apart(folder: Path, pooling: str, tokens: Sequence[Sequence[int]], vectors: NDArray[np.float32]) -> None:
    """See that different texts get different vectors.

    Args:
        folder: To name.
        pooling: To name.
        tokens: Ids of each text.
        vectors: Normalised, shape ``(n, d)``.

    Raises:
        EncoderUnavailableError: if many get the vector of another one.
    """
    near = _similarities(vectors)
    twins = 0
    for place, other in enumerate(near.argmax(1)):
        same = np.abs(vectors[place] - vectors[other]).max() < _SAME
        twins += bool(same and list(tokens[place]) != list(tokens[other]))
    if twins > _COLLAPSED * len(tokens):
        raise EncoderUnavailableError(
            f"{folder}: {twins} of {len(tokens)} texts get the vector of another one with pooling {pooling!r}; set "
            "pooling to how it was trained, such as 'lasttoken' or 'mean' where a token sees only those before it"
        )


def _similarities(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found = vectors @ vectors.T
    np.fill_diagonal(found, -np.inf)
    return found
