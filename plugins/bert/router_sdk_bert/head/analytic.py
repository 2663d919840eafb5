"""The head that keeps nothing but sums: for where neither texts nor their vectors may be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from router_sdk.numerics.state_file import array_of, load_state, write_state
from router_sdk_bert.head.estimates import Estimate, Estimates, gather
from router_sdk_bert.head.neighbours import VectorBlock, VectorMemory, count_votes, evidence, nearest
from router_sdk_bert.head.prototypes import Prototype, Prototypes, read_prototypes
from router_sdk_bert.head.ridge import (
    MOST,
    RandomFeatures,
    RidgeSolution,
    RidgeSums,
    read_solution,
    read_sums,
    sums_by_code,
)
from router_sdk_bert.head.rows import NOBODY, UNKNOWN, Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk_bert.config import HeadConfig
    from router_sdk_bert.head.rows import Row

BLOCK = 64
"""Rows that wait until they are added together."""
SHARPNESS = np.geomspace(1.0, 100.0, 25)
"""Inverse temperatures among which the calibration chooses."""
FADING = 0.999
"""What an outcome in the calibration still counts for after the next one."""
DEFAULT_SHARPNESS = 10
"""Place, among these, of what is used before there is anything to calibrate on."""
LEAST_SHARE = 0.25
"""Share of new rows at which it solves again: that takes a second, not milliseconds."""
STEM = "head"
_LARGEST = 1 << 14
"""Most dimensions of a vector: random features are made anew for as many as the file says."""
PROTOTYPE_MASS = 10.0
"""Outcomes after which, for each prototype, its word counts half."""
MOST_SETS = 256
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0.0, le=MOST)]


class AnalyticFacts(BaseModel):
    """What stands beside the arrays on disk."""

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


@dataclass(slots=True, frozen=True, eq=False)
class AnalyticSnapshot:
    """A solution, what agents say of themselves, and how sharp the scores are.

    Attributes:
        config: The head's configuration.
        features: The random features, or None before the first vector.
        model: The newest solution, or None.
        stored: The prototypes.
        sharpness: What scores are multiplied by to be log odds.
        count: Outcomes behind the sums.
        codes: Code by name.
        texts: What each prototype says.
        ids: Nothing is stored, so empty.
    """

    config: HeadConfig
    features: RandomFeatures | None
    model: RidgeSolution | None
    stored: VectorMemory
    sharpness: float
    count: float
    codes: Mapping[str | None, int]
    texts: Sequence[str]
    ids: Sequence[str] = ()
    _places: dict[tuple[str, ...], tuple[NDArray[np.intp], NDArray[np.intp]]] = field(default_factory=dict)

    def estimate(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task; None where nothing is known to judge by."""
        model, found = self.model, nearest(self.stored, vector, (None,), self.config.neighbours)
        if (model is None or self.features is None) and found is None:
            return None
        codes, columns = self._places_of(names)
        odds, nearness = np.zeros(len(codes)), -1.0
        if model is not None and self.features is not None:
            scores = (model.weights @ self.features(vector) + model.intercepts).astype(np.float64)
            odds = self.sharpness * np.where(columns >= 0, scores[columns], min(float(scores.min()), 0.0))
            nearness = float((model.means @ vector).max())
        if found is not None:
            mass = PROTOTYPE_MASS * len(self.texts)
            votes = count_votes(found.cosines, found.facts, codes)
            odds = odds + mass / (mass + self.count) * evidence(votes, exclusive=True)[0]
            nearness = max(nearness, float(found.cosines[0]))
        chances = np.exp(odds - odds.max())
        chances /= chances.sum()
        count = len(names)
        nobody = float(chances[count]) if len(chances) > count else 0.0
        return Estimate(odds[:count], chances[:count], nobody, np.zeros(count), 1.0 - nearness, found)

    def estimate_batch(self, vectors: NDArray[np.float32], names: tuple[str, ...]) -> list[Estimate | None]:
        """The same of several tasks, shape ``(m, d)``."""
        return [self.estimate(vector, names) for vector in vectors]

    def _places_of(self, names: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Codes, and columns of the solution, of the agents and of nobody if that is known; -1 for strangers."""
        known = self._places.get(names)
        if known is None:
            place = {} if self.model is None else {int(code): at for at, code in enumerate(self.model.columns)}
            asked = (*names, None) if NOBODY in place else names
            codes = np.array([self.codes.get(name, UNKNOWN) for name in asked], dtype=np.intp)
            known = codes, np.array([place.get(int(code), -1) for code in codes], dtype=np.intp)
            if len(self._places) < MOST_SETS:
                self._places[names] = known
        return known


class AnalyticHead:
    """Ridge regression on random features from running sums. Nothing about a single task is kept for long.

    Up to 64 rows wait to be added together, so that ``add(a + b)`` and ``add(a); add(b)`` make the same sums. What
    agents say of themselves speaks beside the sums, the less the more was seen.

    Args:
        config: How outcomes become estimates.
        seed: Seed of the random features.

    Attributes:
        names: Codes of all agents that ever came up.
        sums: Moments of features and of who was right.
        vector_sums: Sum of the vectors where each agent was right, by code.
        waiting: Vector and weight of the rows to be added.
        losses: Discounted log loss at each sharpness.
        snapshot: What requests read.
    """

    def __init__(self, config: HeadConfig, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self.names = Names()
        self.sums: RidgeSums | None = None
        self.vector_sums: dict[int, NDArray[np.float64]] = {}
        self.waiting: list[tuple[NDArray[np.float32], float]] = []
        self.prototypes = Prototypes.of({}, {})
        self.prepared: tuple[str, ...] = ()
        self.losses = np.zeros(len(SHARPNESS))
        self.features: RandomFeatures | None = None
        self.model: RidgeSolution | None = None
        self.since_refit = self.refits = 0
        self.snapshot = self._view()

    @property
    def dimension(self) -> int | None:
        """Of the vectors that it knows; None before the first."""
        if self.features is not None:
            return self.features.dimension
        return self.prototypes.vectors.shape[1] if len(self.prototypes) else None

    def set_agents(
        self,
        agents: Iterable[str],
        told: Mapping[str, Sequence[Prototype]],
        vector_of: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Say who can be chosen and what they say of themselves."""
        prepared, prototypes = tuple(sorted(agents)), Prototypes.of(told, vector_of)
        if prepared != self.prepared or not prototypes.same_as(self.prototypes):
            self.prepared, self.prototypes = prepared, prototypes
            self.snapshot = self._view()

    def add(self, rows: Iterable[Row]) -> None:
        """Learn from rows, oldest first; a revision takes back what the one before said."""
        for row in rows:
            self.learn(row)
        self.publish()

    def publish(self) -> None:
        """Show what was learnt."""
        self.snapshot = self._view()

    def judge(self, vector: NDArray[np.float32], names: tuple[str, ...]) -> Estimate | None:
        """What is thought of one task as of now; see ``Head.judge``."""
        return self._view().estimate(vector, names)

    def learn(self, row: Row) -> frozenset[str]:
        """Learn from one row; it notices no change of an agent."""
        if not row.tells and not (row.before is not None and row.before.tells):
            return frozenset()
        features = self._ready(len(row.vector))(row.vector)
        assert self.sums is not None
        fresh = row.before is None or not row.before.tells
        if fresh:
            self._calibrate(row, features)
        for told, sign in ((row.before, -1.0), (row, 1.0)):
            if told is not None and told.tells:
                self._tell(told, features, sign * row.weight)
        if fresh:
            self.waiting.append((row.vector, row.weight))
            self.since_refit += 1
        if len(self.waiting) == BLOCK:
            self._flush()
        share = max(LEAST_SHARE, self.config.refit_share)
        if self.since_refit >= max(BLOCK, self.config.refit_interval, share * self.sums.count):
            self._refit()
        return frozenset()

    def _ready(self, dimension: int) -> RandomFeatures:
        if self.features is None:
            self.features = RandomFeatures(dimension, self.config.analytic_features, self.seed)
            if self.sums is None:
                self.sums = RidgeSums.empty(self.config.analytic_features)
        return self.features

    def _tell(self, row: Row, features: NDArray[np.float32], weight: float) -> None:
        assert self.sums is not None
        verdict = row.verdict(exclusive=True)
        if row.labelled or verdict.right is not None:
            code = self.names.code(verdict.right)
            self.sums.tell(code, features, weight * verdict.credit, good=True)
            told = weight * verdict.credit * row.vector.astype(np.float64)
            self.vector_sums[code] = self.vector_sums[code] + told if code in self.vector_sums else told
        if verdict.wrong is not None:
            self.sums.tell(self.names.code(verdict.wrong), features, weight * verdict.blame, good=False)

    def _calibrate(self, row: Row, features: NDArray[np.float32]) -> None:
        """Note how well each sharpness would have predicted an outcome that is new."""
        model = self.model
        if model is None:
            return
        verdict = row.verdict(exclusive=True)
        right = np.flatnonzero(model.columns == self.names.code(verdict.right))
        if not len(right):
            return
        odds = SHARPNESS[:, None] * (model.weights @ features + model.intercepts).astype(np.float64)
        odds -= odds.max(axis=1, keepdims=True)
        chance = np.exp(odds[:, right[0]]) / np.exp(odds).sum(axis=1)
        failing = np.log(np.maximum(1.0 - chance, 1e-6)) * verdict.blame
        self.losses = FADING * self.losses - verdict.credit * np.log(np.maximum(chance, 1e-6)) - failing

    def _flush(self) -> None:
        """Add the rows that wait."""
        if self.waiting and self.sums is not None and self.features is not None:
            vectors = np.array([vector for vector, _ in self.waiting], dtype=np.float32)
            self.sums.add(self.features(vectors), np.array([weight for _, weight in self.waiting], dtype=np.float32))
            self.waiting = []

    def refit(self) -> None:
        """Solve again for all that was seen, and publish that."""
        self._refit()
        self.snapshot = self._view()

    def _refit(self) -> None:
        self._flush()
        self.since_refit = 0
        self.refits += 1
        if self.sums is None:
            return
        names = self.names.listed()
        about = sorted(
            (names[code - 1], code) for code in self.sums.good.keys() | self.sums.bad.keys() if code > NOBODY
        )
        codes = [code for _, code in about] + ([NOBODY] if NOBODY in self.sums.good else [])
        if not codes or self.sums.count <= 0.0:
            self.model = None
            return
        weights, intercepts, penalty = self.sums.solve(codes)
        dimension = len(next(iter(self.vector_sums.values()), np.zeros(1)))
        means = np.array([self.vector_sums.get(code, np.zeros(dimension)) for code in codes])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        columns = np.array(codes, dtype=np.intp)
        self.model = RidgeSolution(columns, weights, intercepts, means.astype(np.float32), penalty)

    def _view(self) -> AnalyticSnapshot:
        told = self.prototypes
        facts = told.facts(self.names, (), exclusive=True)
        block = VectorBlock(told.vectors, None, np.zeros(len(told), dtype=np.float32), facts)
        place = int(np.argmin(self.losses)) if self.losses.any() else DEFAULT_SHARPNESS
        seen = 0.0 if self.sums is None else self.sums.count
        known = self.names.known()
        return AnalyticSnapshot(
            self.config,
            self.features,
            self.model,
            VectorMemory((block,)),
            float(SHARPNESS[place]),
            seen,
            known,
            told.texts,
        )

    def predict(self, vectors: NDArray[np.float32], names: Sequence[str]) -> Estimates:
        """Estimates for many tasks; see ``Head.predict``."""
        return gather(self.snapshot.estimate, vectors, tuple(names))

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what outcomes said of these agents."""
        for code in [self.names.code(name) for name in names]:
            self.vector_sums.pop(code, None)
            if self.sums is not None:
                self.sums.good.pop(code, None)
                self.sums.bad.pop(code, None)
        self.refit()

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Sums stay, and rows that wait become part of them now: nobody could tell whose they are."""
        if decision_ids and self.waiting:
            self._flush()
            self.snapshot = self._view()

    def save(self, folder: Path) -> None:
        """Write everything that ``load`` needs to go on as if nothing had happened, but for the configuration."""
        sums = self.sums
        arrays: dict[str, NDArray[Any]] = {
            "prototypes": self.prototypes.vectors,
            "prototype_weight": self.prototypes.weight,
            "losses": self.losses,
            **({} if sums is None else sums.arrays()),
            **{f"vectors.{code}": told for code, told in self.vector_sums.items()},
            **({} if self.model is None else self.model.arrays()),
        }
        if self.waiting:
            arrays["waiting"] = np.array([vector for vector, _ in self.waiting], dtype=np.float32)
        facts = AnalyticFacts(
            names=tuple(self.names.listed()),
            texts=self.prototypes.texts,
            prototypes_of=self.prototypes.names,
            prepared=self.prepared,
            count=None if sums is None else sums.count,
            waiting=tuple(weight for _, weight in self.waiting),
            counts=(self.since_refit, self.refits),
            penalty=None if self.model is None else self.model.penalty,
            dimension=None if self.features is None else self.features.dimension,
            seed=self.seed,
        )
        write_state(folder, STEM, arrays, facts.model_dump(mode="json"))

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote; the random features are made again from the seed they had.

        Raises:
            CorruptArtifactError: if a file is missing, or is not what was written.
        """
        load_state(folder, STEM, lambda arrays, told: self._restore(arrays, AnalyticFacts(**told)))

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: AnalyticFacts) -> None:
        self.names, self.seed, self.prepared = Names(facts.names), facts.seed, facts.prepared
        self.prototypes = read_prototypes(arrays, facts.texts, facts.prototypes_of, facts.dimension)
        self.losses = array_of(arrays, "losses", np.float64, self.losses.shape)
        self.since_refit, self.refits = facts.counts
        self.features = self.sums = self.model = None
        self.waiting, self.vector_sums = [], {}
        if facts.dimension is not None:
            self._restore_sums(arrays, facts, facts.dimension)
        self.snapshot = self._view()

    def _restore_sums(self, arrays: Mapping[str, NDArray[Any]], facts: AnalyticFacts, dimension: int) -> None:
        """Take up what was learnt of vectors."""
        features = self.config.analytic_features
        if facts.count is None:
            raise ValueError("there are sums of nothing")
        self.sums = read_sums(arrays, facts.count, features)
        self.vector_sums = sums_by_code(arrays, "vectors", dimension)
        self.names.check(self.sums.good, self.sums.bad, self.vector_sums)
        self.features = RandomFeatures(dimension, features, self.seed)
        if facts.waiting:
            vectors = array_of(arrays, "waiting", np.float32, (len(facts.waiting), dimension))
            self.waiting = list(zip(vectors, facts.waiting, strict=True))
        if facts.penalty is not None:
            self.model = read_solution(arrays, facts.penalty, features, dimension)
            self.names.check(self.model.columns.tolist())

    def report(self) -> dict[str, Any]:
        """How much is behind the sums."""
        return {
            "stored": 0,
            "seen": 0.0 if self.sums is None else self.sums.count + len(self.waiting),
            "prototypes": len(self.prototypes),
            "refits": self.refits,
            "penalty": None if self.model is None else self.model.penalty,
            "sharpness": self.snapshot.sharpness,
        }
