"""Adds an outer product to a matrix in one pass over memory, which numpy alone needs three for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def add_outer(matrix: NDArray[Any], factor: float, left: NDArray[Any], right: NDArray[Any]) -> None:
    """Add ``factor * outer(left, right)``, in place.

    Args:
        matrix: Contiguous float64 of shape ``(m, n)``; any other would be copied, and the sum lost with the copy.
        factor: 1 or -1, so that a symmetric product stays symmetric to rounding. (Not to the last bit: OpenBLAS's
            kernels differ in where they fuse multiply and add, some at the edges of a matrix only.)
        left: Shape ``(m,)``.
        right: Shape ``(n,)``.
    """
    # BLAS counts in columns, so it is handed the transpose.
    _ger()(factor, right, left, a=matrix.T, overwrite_x=1, overwrite_y=1, overwrite_a=1)


@cache
def _ger() -> Any:
    # Loaded by the first update rather than with the plugin: it takes longer than all the rest.
    from scipy.linalg.blas import dger

    return dger
