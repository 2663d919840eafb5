"""The analytic head on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.head.analytic_snapshot import AnalyticModel
from router_sdk_bert.head.names import Names
from router_sdk_bert.head.prototypes import Prototypes
from router_sdk_bert.head.random_features import RandomFeatures
from router_sdk_bert.head.ridge_sums import RidgeSums
from router_sdk_bert.head.state_file import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.head.analytic import AnalyticHead

STEM = "head"
SOLUTION = ("columns", "weights", "intercepts", "means")


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
    facts = {
        "names": head.names.listed(),
        "texts": prototypes.texts,
        "prototypes_of": prototypes.names,
        "prepared": head.prepared,
        "count": None if sums is None else sums.count,
        "waiting": [weight for _, weight in head.waiting],
        "counts": [head.since_refit, head.refits],
        "penalty": None if head.model is None else head.model.penalty,
        "dimension": None if head.features is None else head.features.dimension,
        "seed": head.seed,
    }
    write_state(folder, STEM, arrays, facts)


def load_analytic(head: AnalyticHead, folder: Path) -> None:
    """Read what ``save_analytic`` wrote; the random features are made again from the seed they had.

    Raises:
        CorruptArtifactError: if a file is missing, or is not what was written.
    """
    arrays, facts = read_state(folder, STEM)
    try:
        head.names = Names(facts["names"])
        head.seed = int(facts["seed"])
        head.prototypes = Prototypes(
            tuple(facts["texts"]), tuple(facts["prototypes_of"]), arrays["prototypes"], arrays["prototype_weight"]
        )
        head.prepared = tuple(facts["prepared"])
        head.losses = arrays["losses"]
        head.since_refit, head.refits = facts["counts"]
        head.features = head.sums = head.model = None
        head.waiting, head.vector_sums = [], {}
        if facts["dimension"] is not None:
            head.features = RandomFeatures(int(facts["dimension"]), head.config.analytic_features, head.seed)
            good, bad, head.vector_sums = (_by_code(arrays, part) for part in ("good", "bad", "vectors"))
            head.sums = RidgeSums(arrays["gram"], arrays["total"], float(facts["count"]), good, bad)
            if len(head.sums.total) != head.config.analytic_features:
                raise ValueError("another number of features")
        if facts["waiting"]:
            head.waiting = list(zip(arrays["waiting"], facts["waiting"], strict=True))
        if facts["penalty"] is not None:
            columns, weights, intercepts, means = (arrays[f"model.{key}"] for key in SOLUTION)
            penalty = float(facts["penalty"])
            head.model = AnalyticModel(columns.astype(np.intp), weights, intercepts, means, penalty)
        head.restored()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(f"{STEM} is incomplete: {type(error).__name__}: {error}") from error


def _by_code(arrays: dict[str, NDArray[Any]], part: str) -> dict[int, NDArray[np.float64]]:
    start = f"{part}."
    return {int(name[len(start) :]): array for name, array in arrays.items() if name.startswith(start)}
