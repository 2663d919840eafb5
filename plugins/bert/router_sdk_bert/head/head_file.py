"""A head on disk: its arrays, and the few facts beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.head.change import Watch
from router_sdk_bert.head.herding import Group
from router_sdk_bert.head.memory import COLUMNS, Memory
from router_sdk_bert.head.model import Model
from router_sdk_bert.head.names import Names
from router_sdk_bert.head.prototypes import Prototypes
from router_sdk_bert.head.state_file import read_state, write_state
from router_sdk_bert.head.surface import Axes, Surface

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.head.head import Head

STEM = "head"
OPTIONAL = ("projection",)


def save_head(head: Head, folder: Path) -> None:
    """Write everything that ``load_head`` needs to go on as if nothing had happened."""
    memory = head.memory
    arrays: dict[str, NDArray[Any]] = {"fitted": head.fitted, "prototypes": head.prototypes.vectors}
    arrays["prototype_weight"] = head.prototypes.weight
    arrays["prototype_density"] = head.shelf.density
    arrays["arrivals"] = head.watches.arrivals.counts
    for key, column in memory.columns.items():
        arrays[f"memory.{key}"] = column[: memory.used]
    if memory.vectors is not None:
        arrays["memory.vectors"] = memory.vectors[: memory.used]
    if memory.coarse is not None:
        arrays["memory.coarse"] = memory.coarse[: memory.used]
    groups = memory.groups.by_code
    for code, group in groups.items():
        if group.held is not None and group.seen is not None:
            arrays[f"group.{code}"] = np.stack((group.held, group.seen))
    if head.model is not None:
        for key in ("columns", "blend", "references", *OPTIONAL):
            value = getattr(head.model, key)
            if value is not None:
                arrays[f"model.{key}"] = value
        surface = head.model.surface
        arrays |= {"surface.weights": surface.weights, "surface.intercepts": surface.intercepts}
        arrays |= {"surface.turn": surface.axes.turn, "surface.shift": surface.axes.shift}
        arrays["surface.curvature"] = surface.curvature
    facts = {
        "names": head.names.listed(),
        "ids": memory.ids,
        "latest": memory.latest if memory.used else None,
        "groups": {str(code): [list(group.places), group.count] for code, group in groups.items()},
        "texts": head.prototypes.texts,
        "prototypes_of": head.prototypes.names,
        "prepared": head.prepared,
        "watches": {str(code): list(one) for code, one in head.watches.by_code.items()},
        "distrusted": sorted(head.distrusted),
        "known": {str(code): count for code, count in head.known.items()},
        "lost": {str(code): mass for code, mass in memory.lost.items()},
        "counts": [head.since_refit, head.since_change, head.refits],
        "held_out": None if head.model is None else head.model.held_out,
    }
    write_state(folder, STEM, arrays, facts)


def load_head(head: Head, folder: Path) -> None:
    """Read what ``save_head`` wrote into a head of the same configuration.

    Raises:
        CorruptArtifactError: if a file is missing, or is not what was written.
    """
    arrays, facts = read_state(folder, STEM)
    try:
        head.names = Names(facts["names"])
        head.memory = _memory(head, arrays, facts)
        head.prototypes = Prototypes(
            tuple(facts["texts"]), tuple(facts["prototypes_of"]), arrays["prototypes"], arrays["prototype_weight"]
        )
        head.prepared = tuple(facts["prepared"])
        head.watches.by_code = {int(code): Watch(*one) for code, one in facts["watches"].items()}
        head.watches.arrivals.counts = arrays["arrivals"]
        head.distrusted = set(facts["distrusted"])
        head.known = {int(code): count for code, count in facts["known"].items()}
        head.since_refit, head.since_change, head.refits = facts["counts"]
        head.fitted = arrays["fitted"]
        head.model = _model(arrays, facts)
        head.restored(arrays["prototype_density"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptArtifactError(f"{STEM} is incomplete: {type(error).__name__}: {error}") from error


def _memory(head: Head, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Memory:
    memory = Memory(head.config.memory_size, head.names, exclusive=head.config.labels == "exclusive")
    memory.columns = {key: arrays[f"memory.{key}"] for key in COLUMNS}
    memory.vectors, memory.coarse = arrays.get("memory.vectors"), arrays.get("memory.coarse")
    if facts["latest"] is not None:
        memory.latest = float(facts["latest"])
    memory.lost = {int(code): float(mass) for code, mass in facts["lost"].items()}
    for code, (places, count) in facts["groups"].items():
        sums = arrays.get(f"group.{code}")
        held, seen = (None, None) if sums is None else (sums[0].copy(), sums[1].copy())
        memory.groups.by_code[int(code)] = Group(dict.fromkeys(places), held, seen, count)
    memory.restore(facts["ids"])
    return memory


def _model(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Model | None:
    if facts["held_out"] is None:
        return None
    return Model(
        arrays["model.columns"].astype(np.intp),
        Surface(
            arrays["surface.weights"],
            arrays["surface.intercepts"],
            Axes(arrays["surface.turn"], arrays["surface.shift"]),
            arrays["surface.curvature"],
        ),
        arrays["model.blend"],
        arrays.get("model.projection"),
        arrays["model.references"],
        int(facts["held_out"]),
    )
