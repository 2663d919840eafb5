"""Everything learnt on top of vectors: a memory, a model refitted over it, and what notices change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from router_sdk.numerics.change_detection import BernoulliCusum
from router_sdk.numerics.state_file import array_of, load_state, write_state
from router_sdk_bert.head.analytic import AnalyticHead, AnalyticSnapshot
from router_sdk_bert.head.drift import DriftDetector
from router_sdk_bert.head.estimates import Estimates, gather
from router_sdk_bert.head.memory import NOT_NEGATIVE, Amount, Count, Memory, MemoryFacts
from router_sdk_bert.head.neighbours import VectorBlock, VectorMemory
from router_sdk_bert.head.prototypes import Prototype, Prototypes, read_prototypes
from router_sdk_bert.head.refit import Model, RefitData, fit_model, join, read_model, rejoin, untaught_model
from router_sdk_bert.head.rows import NOBODY, UNKNOWN, Names, stack_facts
from router_sdk_bert.head.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.estimates import Estimate
    from router_sdk_bert.head.rows import Row
    from router_sdk_bert.head.trained_rows import TrainedRows

STEM = "head"


class HeadFacts(MemoryFacts):
    """What stands beside the arrays on disk; agents by their codes where not by name."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    prototypes_of: tuple[str, ...]
    prepared: tuple[str, ...]
    watches: dict[int, tuple[Amount, int, Amount, Annotated[float, Field(gt=0.0)], Count]]
    distrusted: tuple[str, ...]
    known: dict[int, Count]
    counts: tuple[Count, Count, Count]
    exclusive: bool = True
    held_out: Count | None


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
        drift: What is kept of each agent to notice a change.
        distrusted: Agents that have changed: what they say of themselves counts for less.
        fitted: Weights of the rows that the last refit was made from, the first of the memory.
        known: How many rows about each agent these were, by code.
        exclusive: Whether exactly one agent is taken to be right.
        trained: Rows that the encoder came with; to be set before the agents are.
        snapshot: What requests read.
    """

    def __init__(self, config: HeadConfig, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self.exclusive = config.labels != "independent"
        self.names = Names()
        self.memory = Memory(config.memory_size, self.names)
        self.prototypes = Prototypes.of({}, {})
        self.prepared: tuple[str, ...] = ()
        self.drift = DriftDetector(config)
        self.distrusted: set[str] = set()
        self.trained: TrainedRows | None = None
        self.model: Model | None = None
        self.fitted = np.zeros(0, dtype=np.float32)
        self.known: dict[int, int] = {}
        self.since_refit = 0
        self.since_change = 0
        self.refits = 0
        self.prototype_block = self._block_of_prototypes(np.zeros(0, dtype=np.float32))
        self._viewed: Snapshot | None = None
        self.snapshot = self._view()

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def dimension(self) -> int | None:
        """Of the vectors that it knows; None before the first."""
        held = [self.prototypes.vectors] if len(self.prototypes) else []
        held += [] if self.memory.vectors is None else [self.memory.vectors]
        held += [] if self.model is None else [self.model.logistic.weights]
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
            self.learn(row)
        self.publish()

    def take(self, *, exclusive: bool) -> None:
        """Take exactly one agent to be right, or each to succeed for itself; what that changes is refitted."""
        if exclusive != self.exclusive:
            self.exclusive = exclusive
            self._refit()

    def publish(self) -> None:
        """Show what was learnt."""
        self.snapshot = self._view()

    def judge(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task as of now, published or not; None where nothing is known to judge by."""
        return None if self.model is None else self._view().estimate(vector, names)

    def learn(self, row: Row) -> frozenset[str]:
        """Learn from one row; ``publish`` shows it.

        Returns:
            Agents that turned out to have changed.
        """
        before = self.memory.place_of(row.decision_id)
        if not row.tells:
            if before is not None:
                self.memory.drop(before)
            return frozenset()
        changed = self._detect_drift(row) if before is None else frozenset()
        coarse, density = join(row.vector, self.model)
        self.memory.correct(row)
        self.memory.add(row, coarse, density)
        self.since_refit += 1
        self.since_change += 1
        due = max(self.config.refit_interval, self.config.refit_share * min(len(self.memory), self.since_change))
        if changed or self.since_refit >= due:
            self._refit()
        return changed

    def _detect_drift(self, row: Row) -> frozenset[str]:
        """Compare an outcome with what was expected; who turned out to have changed."""
        alarms = self.drift.alarms(row, self.model, self.names, self.known, exclusive=self.exclusive)
        for code, since in alarms.items():
            self.memory.distrust(code, since, self.config.kept_after_change)
            self.memory.groups.restart(code)
            if code != NOBODY:
                self.distrusted.add(self.names.listed()[code - 1])
            self.since_change = 0
        listed = self.names.listed()
        return frozenset(listed[code - 1] for code in alarms if code != NOBODY)

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
        own = self.prototypes.facts(self.names, sorted(self.distrusted), exclusive=self.exclusive)
        facts = stack_facts((own, memory.told(self.fitted, exclusive=self.exclusive)))
        columns = self._columns()
        names = [None, *self.names.listed()]
        base = None if self.trained is None else self.trained.of([names[code] for code in columns])
        if not (facts.weight > 0.0).any():
            self.model = None if base is None else untaught_model(columns, base)
            self.prototype_block = self._block_of_prototypes(np.zeros(len(own.weight), dtype=np.float32))
            return
        stored = [] if memory.vectors is None or not count else [memory.vectors[:count]]
        vectors = np.concatenate([*([self.prototypes.vectors] if len(self.prototypes) else []), *stored])
        marks = np.concatenate((self.prototypes.marks(), memory.columns["mark"][:count]))
        data = RefitData(vectors, facts, marks, len(self.prototypes), columns, len(self.names), self.exclusive, base)
        self.model, density = fit_model(data, self.config)
        self.prototype_block = self._block_of_prototypes(density[: len(self.prototypes)])
        rejoin(memory, self.model, density[len(self.prototypes) :])

    def _columns(self) -> NDArray[np.intp]:
        """Codes of those who get a row of weights: the agents prepared, and all that stored rows are about."""
        names = self.names.listed()
        about = {names[code - 1] for code in self.known if code > NOBODY}
        codes = [self.names.code(name) for name in sorted(about | set(self.prepared))]
        return np.array([*codes, *([NOBODY] if self.known.get(NOBODY) else [])], dtype=np.intp)

    def _block_of_prototypes(self, density: NDArray[np.float32]) -> VectorBlock:
        own = self.prototypes.facts(self.names, sorted(self.distrusted), exclusive=self.exclusive)
        told = np.array([name in self.distrusted for name in self.prototypes.names], dtype=bool)
        return VectorBlock(self.prototypes.vectors, None, density, own._replace(weight=own.weight * ~told))

    def _view(self) -> Snapshot:
        """What is known now, to be read; it costs little enough to be made for every outcome."""
        memory, before = self.memory, self._viewed
        block = memory.block(self.config.half_life_s, exclusive=self.exclusive)
        same = before is not None and before.model is self.model and len(before.codes) == len(self.names)
        self._viewed = Snapshot(
            self.config,
            self.model,
            VectorMemory((self.prototype_block, block)),
            before.codes if before is not None and same else self.names.known(),
            memory.ids,
            self.prototypes.texts,
            self.exclusive,
            before.places if before is not None and same else {},
        )
        return self._viewed

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
            self.drift.forget(code)
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
        """Write everything that ``load`` needs to go on as if nothing had happened, but for the configuration."""
        arrays: dict[str, NDArray[Any]] = {
            "fitted": self.fitted,
            "prototypes": self.prototypes.vectors,
            "prototype_weight": self.prototypes.weight,
            "prototype_density": self.prototype_block.density,
            "arrivals": self.drift.label_shift.counts,
            **self.memory.arrays(),
            **({} if self.model is None else self.model.arrays()),
        }
        facts = HeadFacts(
            **self.memory.facts(),
            names=tuple(self.names.listed()),
            texts=self.prototypes.texts,
            prototypes_of=self.prototypes.names,
            prepared=self.prepared,
            watches={code: tuple(one) for code, one in self.drift.by_code.items()},
            distrusted=tuple(sorted(self.distrusted)),
            known=self.known,
            counts=(self.since_refit, self.since_change, self.refits),
            exclusive=self.exclusive,
            held_out=None if self.model is None else self.model.held_out,
        )
        write_state(folder, STEM, arrays, facts.model_dump(mode="json"))

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote into a head of the same configuration.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written.
        """
        load_state(folder, STEM, lambda arrays, told: self._restore(arrays, HeadFacts(**told)))

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: HeadFacts) -> None:
        self.names = Names(facts.names)
        self.names.check(facts.groups, facts.watches, facts.known, facts.lost)
        dimension = _dimension(arrays)
        self.memory = Memory(self.config.memory_size, self.names)
        self.memory.restore(arrays, facts, dimension)
        self.prototypes = read_prototypes(arrays, facts.texts, facts.prototypes_of, dimension)
        self.prepared = facts.prepared
        self.drift.by_code = {code: BernoulliCusum(*one) for code, one in facts.watches.items()}
        self.drift.label_shift.counts = array_of(arrays, "arrivals", np.float64, (None,), NOT_NEGATIVE)
        self.distrusted = set(facts.distrusted)
        self.known = facts.known
        self.exclusive = facts.exclusive
        self.since_refit, self.since_change, self.refits = facts.counts
        self.fitted = array_of(arrays, "fitted", np.float32, (None,), NOT_NEGATIVE)
        self.model = None if facts.held_out is None else read_model(arrays, facts.held_out, dimension)
        self._check_together()
        self.prototype_block = self._block_of_prototypes(
            array_of(arrays, "prototype_density", np.float32, (len(facts.texts),))
        )
        self.snapshot = self._view()

    def _check_together(self) -> None:
        """See that memory and model fit each other."""
        if self.model is not None:
            self.names.check(self.model.columns.tolist())
        projection, coarse = None if self.model is None else self.model.projection, self.memory.coarse
        if len(self.fitted) > self.memory.used:
            raise ValueError("the last refit was made from more rows than there are")
        if coarse is not None and (projection is None or coarse.shape[1] != projection.shape[1] + 1):
            raise ValueError("coarse vectors were made by another projection")

    def report(self) -> dict[str, Any]:
        """How much is stored, how it is weighed, and who changed."""
        listed = self.names.listed()
        rows = {listed[code - 1]: len(group.places) for code, group in self.memory.groups.by_code.items() if code > 0}
        changes = {code: one.alarms for code, one in self.drift.by_code.items() if code > NOBODY and one.alarms}
        return {
            "stored": len(self.memory),
            "prototypes": len(self.prototypes),
            "rows": dict(sorted(rows.items())),
            "refits": self.refits,
            "blend": None if self.model is None else [round(float(weight), 4) for weight in self.model.blend],
            "penalty": None if self.model is None else self.model.penalty,
            "calibrated_on": 0 if self.model is None else self.model.held_out,
            "novelty_threshold": self.config.novelty_threshold or (None if self.model is None else self.model.limit),
            "novelty_threshold_from": "configuration" if self.config.novelty_threshold is not None else "log",
            "changes": {listed[code - 1]: count for code, count in changes.items()},
        }


def _dimension(arrays: Mapping[str, NDArray[Any]]) -> int | None:
    """Dimensions of the vectors, as the first array says that holds some; None where none does."""
    found = [arrays[name] for name in ("surface.weights", "memory.vectors", "prototypes") if name in arrays]
    return next((array.shape[1] for array in found if array.ndim == 2 and array.shape[1]), None)


AnyHead = Head | AnalyticHead
AnySnapshot = Snapshot | AnalyticSnapshot


def make_head(config: HeadConfig, seed: int) -> AnyHead:
    """A new head, that knows nothing."""
    return AnalyticHead(config, seed) if config.head == "analytic" else Head(config, seed)
