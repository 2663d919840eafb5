"""The analytic head on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.head.analytic_snapshot import AnalyticModel
from router_sdk_bert.head.names import NOBODY, Names
from router_sdk_bert.head.prototypes import read_prototypes
from router_sdk_bert.head.random_features import RandomFeatures
from router_sdk_bert.head.ridge import RidgeSums
from router_sdk_bert.head.state_file import array_of, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.head.analytic import AnalyticHead

STEM = "head"
SOLUTION = ("columns", "weights", "intercepts", "means")
_LARGEST = 1 << 14
"""Most dimensions of a vector: random features are made anew for as many as the file says."""

MOST = 1e18
"""What no sum of weights reaches."""
SLACK, LEAST = 1.1, 1e-6
"""What rounding is allowed for where a mean square is compared with the square of a mean."""

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0, le=MOST)]


class AnalyticFacts(BaseModel):
    """What stands beside the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    names: tuple[str, ...]
    texts: tuple[str, ...]
    prototypes_of: tuple[str, ...]
    prepared: tuple[str, ...]
    count: Amount | None
    waiting: tuple[Amount, ...]
    counts: tuple[Count, Count]
    penalty: Amount | None
    dimension: Annotated[int, Field(gt=0, le=_LARGEST)] | None
    seed: Count


def save_analytic(head: AnalyticHead, folder: Path) -> None:
    """Write everything that ``load_analytic`` needs to go on as if nothing had happened."""
    prototypes, sums = head.prototypes, head.sums
    arrays: dict[str, NDArray[Any]] = {
        "prototypes": prototypes.vectors,
        "prototype_weight": prototypes.weight,
        "losses": head.losses,
    }
    if sums is not None:
        arrays |= {"gram": sums.gram, "total": sums.total}
        arrays |= {f"good.{code}": told for code, told in sums.good.items()}
        arrays |= {f"bad.{code}": told for code, told in sums.bad.items()}
        arrays |= {f"vectors.{code}": told for code, told in head.vector_sums.items()}
    if head.waiting:
        arrays["waiting"] = np.array([vector for vector, _ in head.waiting], dtype=np.float32)
    if head.model is not None:
        arrays |= {f"model.{key}": getattr(head.model, key) for key in SOLUTION}
    facts = AnalyticFacts(
        names=tuple(head.names.listed()),
        texts=prototypes.texts,
        prototypes_of=prototypes.names,
        prepared=head.prepared,
        count=None if sums is None else sums.count,
        waiting=tuple(weight for _, weight in head.waiting),
        counts=(head.since_refit, head.refits),
        penalty=None if head.model is None else head.model.penalty,
        dimension=None if head.features is None else head.features.dimension,
        seed=head.seed,
    )
    write_state(folder, STEM, arrays, facts.model_dump(mode="json"))


def load_analytic(head: AnalyticHead, folder: Path) -> None:
    """Read what ``save_analytic`` wrote; the random features are made again from the seed they had.

    Raises:
        CorruptArtifactError: if a file is missing, or is not what was written.
    """
    arrays, told = read_state(folder, STEM)
    try:
        facts = AnalyticFacts(**told)
        head.names = Names(facts.names)
        head.seed = facts.seed
        head.prototypes = read_prototypes(arrays, facts.texts, facts.prototypes_of, facts.dimension)
        head.prepared = facts.prepared
        head.losses = array_of(arrays, "losses", np.float64, head.losses.shape)
        head.since_refit, head.refits = facts.counts
        head.features = head.sums = head.model = None
        head.waiting, head.vector_sums = [], {}
        if facts.dimension is not None:
            _read_sums(head, arrays, facts, facts.dimension)
        head.restored()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(f"{STEM} is malformed: {type(error).__name__}: {error}") from error


def _read_sums(head: AnalyticHead, arrays: Mapping[str, NDArray[Any]], facts: AnalyticFacts, dimension: int) -> None:
    """Take up what was learnt of vectors."""
    features = head.config.analytic_features
    if facts.count is None:
        raise ValueError("there are sums of nothing")
    gram = array_of(arrays, "gram", np.float32, (features, features))
    total = array_of(arrays, "total", np.float64, (features,), (0.0, MOST))
    if (total**2 > facts.count * (gram.diagonal().astype(np.float64) * SLACK + LEAST)).any():
        raise ValueError("no features have these moments")
    good, bad = (_by_code(head, arrays, part, features + 1) for part in ("good", "bad"))
    head.sums = RidgeSums(gram, total, facts.count, good, bad)
    head.vector_sums = _by_code(head, arrays, "vectors", dimension)
    head.features = RandomFeatures(dimension, features, head.seed)
    if facts.waiting:
        vectors = array_of(arrays, "waiting", np.float32, (len(facts.waiting), dimension))
        head.waiting = list(zip(vectors, facts.waiting, strict=True))
    if facts.penalty is not None:
        columns = array_of(arrays, "model.columns", np.int64, (None,))
        if any(not NOBODY <= code < len(head.names) for code in columns.tolist()):
            raise ValueError("an agent's code stands for nobody that is named")
        weights = array_of(arrays, "model.weights", np.float32, (len(columns), features))
        intercepts = array_of(arrays, "model.intercepts", np.float32, (len(columns),))
        means = array_of(arrays, "model.means", np.float32, (len(columns), dimension))
        head.model = AnalyticModel(columns.astype(np.intp), weights, intercepts, means, facts.penalty)


def _by_code(
    head: AnalyticHead, arrays: Mapping[str, NDArray[Any]], part: str, length: int
) -> dict[int, NDArray[np.float64]]:
    start = f"{part}."
    found = {
        int(name.removeprefix(start)): array_of(arrays, name, np.float64, (length,))
        for name in arrays
        if name.startswith(start)
    }
    if any(not NOBODY <= code < len(head.names) for code in found):
        raise ValueError("an agent's code stands for nobody that is named")
    return found
