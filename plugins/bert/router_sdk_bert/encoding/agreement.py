"""Whether an exported encoder says the same as torch: over texts that have a nearest other text each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_sdk_bert.encoding.description import BackendCheck
from router_sdk_bert.encoding.settings import Backend

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_COSINE = 0.98
LEAST_AGREEMENT = 0.98
_TIE = 0.01


def compare(backend: Backend, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> BackendCheck:
    """Compare normalised vectors of the same texts.

    Args:
        backend: Which one made the candidates.
        reference: Torch's, shape ``(n, d)``.
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


def _similarities(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found = vectors @ vectors.T
    np.fill_diagonal(found, -np.inf)
    return found
