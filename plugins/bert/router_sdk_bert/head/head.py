"""Everything learnt on top of vectors: a memory, a model refitted over it, and what watches for change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.plugin import CorruptArtifactError
from router_sdk_bert.files import array_of, read_state, write_state
from router_sdk_bert.head.analytic import AnalyticHead, AnalyticSnapshot
from router_sdk_bert.head.drift import Watch, Watches
from router_sdk_bert.head.estimates import Estimates, gather
from router_sdk_bert.head.herding import Group
from router_sdk_bert.head.logistic_regression import Axes, Surface
from router_sdk_bert.head.memory import COLUMNS, Memory
from router_sdk_bert.head.neighbours import WIDTHS, Shelf, Shelves, stack_facts
from router_sdk_bert.head.prototypes import Prototype, Prototypes, read_prototypes
from router_sdk_bert.head.refit import Model, Stock, fit_model, join, rejoin, untaught_model
from router_sdk_bert.head.rows import NOBODY, UNKNOWN, Names
from router_sdk_bert.head.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.logistic_regression import TrainedRows
    from router_sdk_bert.head.rows import Row


class Head:
    """Estimates of every agent's success, keyed by name. One thread at a time changes it; others read ``snapshot``.

    ``add(a + b)`` leaves exactly what ``add(a); add(b)`` leaves: when to refit follows from counts of rows alone, and
    a refit starts from nothing, so that it depends on the rows and prototypes and on nothing else.

    Args:
        config: How outcomes become estimates.
        seed: Taken for symmetry with other heads; nothing here is random.

    Attributes:
        names: Codes of all agents that ever came up.
        memory: The stored rows.
        watches: What is kept of each agent to notice a change.
        distrusted: Agents that have changed: what they say of themselves counts for less.
        fitted: Weights of the rows that the last refit was made from, the first of the memory.
        known: How many rows about each agent these were, by code.
        trained: Rows that the encoder came with; to be set before the agents are.
        snapshot: What requests read.
    """

    def __init__(self, config: HeadConfig, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self._exclusive = config.labels == "exclusive"
        self.names = Names()
        self.memory = Memory(config.memory_size, self.names, exclusive=self._exclusive)
        self.prototypes = Prototypes.of({}, {})
        self.prepared: tuple[str, ...] = ()
        self.watches = Watches(config)
        self.distrusted: set[str] = set()
        self.trained: TrainedRows | None = None
        self.model: Model | None = None
        self.fitted = np.zeros(0, dtype=np.float32)
        self.known: dict[int, int] = {}
        self.since_refit = 0
        self.since_change = 0
        self.refits = 0
        self.shelf = self._prototype_shelf(np.zeros(0, dtype=np.float32))
        self.snapshot = self._view()

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def dimension(self) -> int | None:
        """Of the vectors that it knows; None before the first."""
        held = [self.prototypes.vectors] if len(self.prototypes) else []
        held += [] if self.memory.vectors is None else [self.memory.vectors]
        held += [] if self.model is None else [self.model.surface.weights]
        return held[0].shape[1] if held else None

    def set_agents(
        self,
        agents: Iterable[str],
        told: Mapping[str, Sequence[Prototype]],
        vector_of: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Say who can be chosen and what they say of themselves; agents that are left out keep what was learnt.

        Args:
            agents: Their names.
            told: Prototypes by agent.
            vector_of: The embedding of each prototype's text.
        """
        prepared, prototypes = tuple(sorted(agents)), Prototypes.of(told, vector_of)
        if prepared == self.prepared and prototypes.same_as(self.prototypes):
            return
        self.prepared, self.prototypes = prepared, prototypes
        self._fit()
        self.snapshot = self._view()

    def add(self, rows: Iterable[Row]) -> None:
        """Learn from rows, oldest first; a row of a decision that is stored replaces it."""
        for row in rows:
            self._add(row)
        self.snapshot = self._view()

    def _add(self, row: Row) -> None:
        before = self.memory.place_of(row.decision_id)
        if not row.tells:
            if before is not None:
                self.memory.drop(before)
            return
        changed = before is None and self._watch(row)
        coarse, density = join(row.vector, self.model)
        self.memory.add(row, coarse, density)
        self.since_refit += 1
        self.since_change += 1
        due = max(self.config.refit_interval, self.config.refit_share * min(len(self.memory), self.since_change))
        if changed or self.since_refit >= due:
            self._refit()

    def _watch(self, row: Row) -> bool:
        """Compare an outcome with what was expected; True where an agent turned out to have changed."""
        alarms = self.watches.alarms(row, self.model, self.names, self.known)
        for code, since in alarms.items():
            self.memory.distrust(code, since, self.config.kept_after_change)
            self.memory.groups.restart(code)
            if code != NOBODY:
                self.distrusted.add(self.names.listed()[code - 1])
            self.since_change = 0
        return bool(alarms)

    def refit(self) -> None:
        """Fit everything again, over what is stored now, and publish that."""
        self._refit()
        self.snapshot = self._view()

    def _refit(self) -> None:
        self.memory.compact()
        self.fitted = self.memory.weights(self.config.half_life_s)
        self.known = {code: len(group.places) for code, group in self.memory.groups.by_code.items()}
        self.since_refit = 0
        self.refits += 1
        self._fit()

    def _fit(self) -> None:
        """Fit over the rows of the last refit and the prototypes of now, then let later rows join again."""
        memory, count = self.memory, len(self.fitted)
        own = self.prototypes.facts(self.names, sorted(self.distrusted), exclusive=self._exclusive)
        facts = stack_facts((own, memory.facts(self.fitted)))
        columns = self._columns()
        names = [None, *self.names.listed()]
        base = None if self.trained is None else self.trained.of([names[code] for code in columns])
        if not (facts.weight > 0.0).any():
            self.model = None if base is None else untaught_model(columns, base)
            self.shelf = self._prototype_shelf(np.zeros(len(own.weight), dtype=np.float32))
            return
        stored = [] if memory.vectors is None or not count else [memory.vectors[:count]]
        vectors = np.concatenate([*([self.prototypes.vectors] if len(self.prototypes) else []), *stored])
        marks = np.concatenate((self.prototypes.marks(), memory.columns["mark"][:count]))
        stock = Stock(vectors, facts, marks, len(self.prototypes), columns, len(self.names), base)
        self.model, density = fit_model(stock, self.config)
        self.shelf = self._prototype_shelf(density[: len(self.prototypes)])
        rejoin(memory, self.model, density[len(self.prototypes) :])

    def _columns(self) -> NDArray[np.intp]:
        """Codes of those who get a row of weights: the agents prepared, and all that stored rows are about."""
        names = self.names.listed()
        about = {names[code - 1] for code in self.known if code > NOBODY}
        codes = [self.names.code(name) for name in sorted(about | set(self.prepared))]
        return np.array([*codes, *([NOBODY] if self.known.get(NOBODY) else [])], dtype=np.intp)

    def _prototype_shelf(self, density: NDArray[np.float32]) -> Shelf:
        own = self.prototypes.facts(self.names, sorted(self.distrusted), exclusive=self._exclusive)
        told = np.array([name in self.distrusted for name in self.prototypes.names], dtype=bool)
        return Shelf(self.prototypes.vectors, None, density, own._replace(weight=own.weight * ~told))

    def _view(self) -> Snapshot:
        memory = self.memory
        shelf = memory.shelf(memory.weights(self.config.half_life_s, as_neighbours=True))
        return Snapshot(
            self.config, self.model, Shelves((self.shelf, shelf)), self.names.known(), memory.ids, self.prototypes.texts
        )

    def restored(self, density: NDArray[np.float32]) -> None:
        """Publish what was read from disk; ``density`` is that of the prototypes."""
        self.shelf = self._prototype_shelf(density)
        self.snapshot = self._view()

    def predict(self, vectors: NDArray[np.float32], names: Sequence[str]) -> Estimates:
        """Estimates for many tasks.

        Args:
            vectors: Shape ``(n, d)``, float32, each of length 1.
            names: The agents in question, ``k`` of them.
        """
        return gather(self.snapshot.estimate, vectors, tuple(names))

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what outcomes said of these agents."""
        codes = {self.names.code(name) for name in names}
        columns = self.memory.columns
        self.memory.drop_where(
            lambda place: bool({int(columns["right"][place]), int(columns["wrong"][place])} & codes - {UNKNOWN})
        )
        for code in codes:
            self.memory.groups.forget(code)
            self.memory.lost.pop(code, None)
            self.watches.forget(code)
        self.distrusted -= set(names)
        self.refit()

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop the rows of these decisions, and refit without them."""
        named = set(decision_ids).intersection(self.memory.ids)
        for name in sorted(named):
            place = self.memory.place_of(name)
            if place is not None:
                self.memory.drop(place)
        if named:  # A row that was dropped before is still there until rows are moved together.
            self.refit()

    def save(self, folder: Path) -> None:
        """Write the head's state; its configuration is kept elsewhere."""
        save_head(self, folder)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        load_head(self, folder)

    def report(self) -> dict[str, Any]:
        """How much is stored, how it is weighed, and who changed."""
        listed = self.names.listed()
        rows = {listed[code - 1]: len(group.places) for code, group in self.memory.groups.by_code.items() if code > 0}
        changes = {code: one.alarms for code, one in self.watches.by_code.items() if code > NOBODY and one.alarms}
        return {
            "stored": len(self.memory),
            "prototypes": len(self.prototypes),
            "rows": dict(sorted(rows.items())),
            "refits": self.refits,
            "blend": None if self.model is None else [round(float(weight), 4) for weight in self.model.blend],
            "calibrated_on": 0 if self.model is None else self.model.held_out,
            "changes": {listed[code - 1]: count for code, count in changes.items()},
        }


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


AnyHead = Head | AnalyticHead
AnySnapshot = Snapshot | AnalyticSnapshot


def make_head(config: HeadConfig, seed: int) -> AnyHead:
    """A new head, that knows nothing."""
    return AnalyticHead(config, seed) if config.head == "analytic" else Head(config, seed)
