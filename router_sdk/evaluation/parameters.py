"""What a saved state is made of: whether its numbers are finite, and how long its arrays are beside another state's.

It reads files, and so knows of no strategy: safetensors, npy and npz, and of JSON whether a number is none.
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.errors import CorruptArtifactError
from router_sdk.numerics.state_file import float_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_JSON = 64 << 20
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arrays of a saved state.

    Attributes:
        arrays: Arrays of floating-point numbers.
        not_finite: Names of the first few that hold a number that is none, and of such JSON files.
        compared: Arrays of which the other state has one of the same name and shape, neither of them all zeros.
        ratio: The largest factor by which the Euclidean norms of two of these differ, at least 1; 1 without any.
        widest: Which array that is.
        norm: Euclidean norm of the strategy's fitted parameters, as far as they are finite; None where there are none.
    """

    arrays: int
    not_finite: tuple[str, ...] = ()
    compared: int = 0
    ratio: float = 1.0
    widest: str | None = None
    norm: float | None = None


def compare_parameters(folder: Path, beside: Path | None = None, fitted: Sequence[str] = ("*",)) -> Parameters:
    """Read a saved state, and compare it with another.

    Args:
        folder: Where the state was saved.
        beside: Where the other one was; None compares with nothing.
        fitted: Patterns of the arrays whose norm is told, see ``Strategy.parameters``.
    """
    norms, broken = _norms(folder)
    others = {} if beside is None else _norms(beside)[0]
    ratios = {
        name: max(norm / others[name, shape], others[name, shape] / norm)
        for (name, shape), norm in norms.items()
        if 0.0 < norm < math.inf and 0.0 < others.get((name, shape), 0.0) < math.inf
    }
    widest = max(ratios, key=ratios.__getitem__, default=None)
    most = 1.0 if widest is None else min(ratios[widest], sys.float_info.max)
    told = [norm for (name, _), norm in norms.items() if any(fnmatchcase(name, one) for one in fitted)]
    whole = math.hypot(*filter(math.isfinite, told)) if told else None
    return Parameters(len(norms), tuple(broken[:_MOST_NAMED]), len(ratios), most, widest, whole)


def _norms(folder: Path) -> tuple[dict[tuple[str, tuple[int, ...]], float], list[str]]:
    """The norm of each array by its name and shape, and the names of what is not finite."""
    norms, broken = {}, []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and not _finite_json(path):
            broken.append(place)
        for name, array in _arrays(path):
            key = f"{place}:{name}" if name else place
            if not np.isfinite(array).all():
                broken.append(key)
            largest = float(np.abs(array).max(initial=0.0))  # in units of it, no square is too large to be added
            scaled = array.astype(np.float64).ravel() / (largest or 1.0) if math.isfinite(largest) else [math.inf]
            norms[key, array.shape] = (largest or 1.0) * float(np.linalg.norm(scaled))
    return norms, broken


def _arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of floating-point numbers in a file; of what cannot be read, or is no such file, none."""
    try:
        if path.suffix == ".safetensors":
            yield from float_tensors(path)
        elif path.suffix in {".npy", ".npz"}:
            found = np.load(path, allow_pickle=False)
            named = {"": found} if isinstance(found, np.ndarray) else found
            yield from ((name, named[name]) for name in named if named[name].dtype.kind == "f")
    except (CorruptArtifactError, OSError, ValueError, zipfile.BadZipFile):
        return


class _NotFiniteError(Exception):
    pass


def _finite_json(path: Path) -> bool:
    """Whether no number in it is NaN or infinite."""

    def constant(name: str) -> None:
        raise _NotFiniteError(name)

    try:
        if path.stat().st_size <= _LARGEST_JSON:
            json.loads(path.read_bytes(), parse_constant=constant)
    except _NotFiniteError:
        return False
    except (OSError, ValueError, RecursionError):
        return True
    return True
