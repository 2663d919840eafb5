"""A head on disk: its arrays, and the few facts beside them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.head.drift import Watch
from router_sdk_bert.head.evidence import WIDTHS
from router_sdk_bert.head.herding import Group
from router_sdk_bert.head.memory import COLUMNS, Memory
from router_sdk_bert.head.names import NOBODY, UNKNOWN, Names
from router_sdk_bert.head.prototypes import read_prototypes
from router_sdk_bert.head.refit import Model
from router_sdk_bert.head.state_file import array_of, read_state, write_state
from router_sdk_bert.head.surface import Axes, Surface

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.head.head import Head

STEM = "head"

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0)]
ANY, NOT_NEGATIVE, SHARE = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
RANGES = {"credit": SHARE, "blame": SHARE, "trust": SHARE, "weight": NOT_NEGATIVE}
"""Of the columns that have one."""


class HeadFacts(BaseModel):
    """What stands beside the arrays; agents by their codes where not by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    names: tuple[str, ...]
    ids: tuple[str, ...]
    latest: float | None
    groups: dict[int, tuple[tuple[Count, ...], Count]]
    texts: tuple[str, ...]
    prototypes_of: tuple[str, ...]
    prepared: tuple[str, ...]
    watches: dict[int, tuple[Amount, int, Amount, Annotated[float, Field(gt=0.0)], Count]]
    distrusted: tuple[str, ...]
    known: dict[int, Count]
    lost: dict[int, Amount]
    counts: tuple[Count, Count, Count]
    held_out: Count | None


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
        for key in ("columns", "blend", "references", "projection"):
            value = getattr(head.model, key)
            if value is not None:
                arrays[f"model.{key}"] = value
        surface = head.model.surface
        arrays |= {"surface.weights": surface.weights, "surface.intercepts": surface.intercepts}
        arrays |= {"surface.turn": surface.axes.turn, "surface.shift": surface.axes.shift}
        arrays["surface.curvature"] = surface.curvature
    facts = HeadFacts(
        names=tuple(head.names.listed()),
        ids=tuple(memory.ids),
        latest=memory.latest if memory.used else None,
        groups={code: (tuple(group.places), group.count) for code, group in groups.items()},
        texts=head.prototypes.texts,
        prototypes_of=head.prototypes.names,
        prepared=head.prepared,
        watches={code: tuple(one) for code, one in head.watches.by_code.items()},
        distrusted=tuple(sorted(head.distrusted)),
        known=head.known,
        lost=memory.lost,
        counts=(head.since_refit, head.since_change, head.refits),
        held_out=None if head.model is None else head.model.held_out,
    )
    write_state(folder, STEM, arrays, facts.model_dump(mode="json"))


def load_head(head: Head, folder: Path) -> None:
    """Read what ``save_head`` wrote into a head of the same configuration.

    Raises:
        CorruptArtifactError: if a file is missing, or is not what was written.
    """
    arrays, told = read_state(folder, STEM)
    try:
        facts = HeadFacts(**told)
        head.names = Names(facts.names)
        _check_codes(len(head.names), facts.groups, facts.watches, facts.known, facts.lost)
        dimension = _dimension(arrays)
        head.memory = _memory(head, arrays, facts, dimension)
        head.prototypes = read_prototypes(arrays, facts.texts, facts.prototypes_of, dimension)
        head.prepared = facts.prepared
        head.watches.by_code = {code: Watch(*one) for code, one in facts.watches.items()}
        head.watches.arrivals.counts = array_of(arrays, "arrivals", np.float64, (None,), NOT_NEGATIVE)
        head.distrusted = set(facts.distrusted)
        head.known = facts.known
        head.since_refit, head.since_change, head.refits = facts.counts
        head.fitted = array_of(arrays, "fitted", np.float32, (None,), NOT_NEGATIVE)
        head.model = _model(arrays, facts, len(head.names), dimension)
        density = array_of(arrays, "prototype_density", np.float32, (len(facts.texts),))
        _check_together(head)
        head.restored(density)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(f"{STEM} is malformed: {type(error).__name__}: {error}") from error


def _check_codes(known: int, *listed: Iterable[int]) -> None:
    if any(not NOBODY <= code < known for codes in listed for code in codes):
        raise ValueError("an agent's code stands for nobody that is named")


def _dimension(arrays: Mapping[str, NDArray[Any]]) -> int | None:
    """Dimensions of the vectors, as the first array says that holds some; None where none does."""
    found = [arrays[name] for name in ("surface.weights", "memory.vectors", "prototypes") if name in arrays]
    return next((array.shape[1] for array in found if array.ndim == 2 and array.shape[1]), None)


def _memory(head: Head, arrays: Mapping[str, NDArray[Any]], facts: HeadFacts, dimension: int | None) -> Memory:
    memory = Memory(head.config.memory_size, head.names, exclusive=head.config.labels == "exclusive")
    used, codes = len(facts.ids), (UNKNOWN, len(head.names) - 1)
    ranges: dict[str, tuple[float, float]] = {**RANGES, "about": codes, "right": codes, "wrong": codes}
    if facts.latest is not None:
        memory.latest = facts.latest
        ranges["at"] = (-math.inf, facts.latest)
    memory.columns = {
        key: array_of(arrays, f"memory.{key}", kind, (used,), ranges.get(key, ANY)) for key, kind in COLUMNS.items()
    }
    if used and facts.latest is None:
        raise ValueError("nothing says when the newest row came")
    if "memory.vectors" in arrays or used:
        memory.vectors = array_of(arrays, "memory.vectors", np.float32, (used, dimension))
    if "memory.coarse" in arrays:
        memory.coarse = array_of(arrays, "memory.coarse", np.float32, (used, None))
    memory.lost = dict(facts.lost)
    for code, (places, count) in facts.groups.items():
        held = seen = None
        if count < len(places):
            raise ValueError("a group holds more than it has seen")
        if f"group.{code}" in arrays or places:
            held, seen = (sums.copy() for sums in array_of(arrays, f"group.{code}", np.float64, (2, dimension)))
        memory.groups.by_code[code] = Group(dict.fromkeys(places), held, seen, count)
    memory.restore(facts.ids)
    return memory


def _model(arrays: Mapping[str, NDArray[Any]], facts: HeadFacts, codes: int, dimension: int | None) -> Model | None:
    if facts.held_out is None:
        return None
    columns = array_of(arrays, "model.columns", np.int64, (None,))
    _check_codes(codes, columns.tolist())
    agents, shift = len(columns), array_of(arrays, "surface.shift", np.float32, (None,))
    products = len(shift) * (len(shift) + 1) // 2
    turn = array_of(arrays, "surface.turn", np.float32, (dimension, len(shift)))
    surface = Surface(
        array_of(arrays, "surface.weights", np.float32, (agents, dimension)),
        array_of(arrays, "surface.intercepts", np.float32, (agents,)),
        Axes(turn, shift),
        array_of(arrays, "surface.curvature", np.float32, (agents, products)),
    )
    projection = None
    if "model.projection" in arrays:
        projection = array_of(arrays, "model.projection", np.float32, (dimension, None))
    blend = array_of(arrays, "model.blend", np.float64, (1 + len(WIDTHS),), NOT_NEGATIVE)
    references = array_of(arrays, "model.references", np.float32, (None, dimension))
    return Model(columns.astype(np.intp), surface, blend, projection, references, facts.held_out)


def _check_together(head: Head) -> None:
    """See that memory and model fit each other."""
    projection, coarse = None if head.model is None else head.model.projection, head.memory.coarse
    if len(head.fitted) > head.memory.used:
        raise ValueError("the last refit was made from more rows than there are")
    if coarse is not None and (projection is None or coarse.shape[1] != projection.shape[1] + 1):
        raise ValueError("coarse vectors were made by another projection")
