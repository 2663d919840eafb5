"""Sends tasks to the posteriors that fit what they carry: a text, features, an embedding, or nothing but a type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.numerics.policy_comparison import PolicyComparison, shares_among
from router_sdk.numerics.request_finding import RequestFinder
from router_sdk.plugin import CorruptArtifactError, ExampleColumns, InvalidConfigError, RequestEncoder
from router_sdk_thompson.features.design import described
from router_sdk_thompson.features.hashed_text import TEXT_ENCODER
from router_sdk_thompson.labels import changes
from router_sdk_thompson.policy.comparison import CELLS, FEATURES, LINEAR, POLICIES, TEXT, TOLD, TRUST, rates
from router_sdk_thompson.policy.context_probe import BARE, ContextProbe
from router_sdk_thompson.posteriors.first_rewards import FirstRewards
from router_sdk_thompson.posteriors.over_features import FeatureModel
from router_sdk_thompson.posteriors.over_text import TextModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.numerics.policy_comparison import Favourites
    from router_sdk.numerics.policy_selection import PolicyWeights
    from router_sdk.plugin import (
        AgentSet,
        Encoder,
        Example,
        FeatureValue,
        RouteContext,
        StrategyServices,
        Task,
    )
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change
    from router_sdk_thompson.posteriors.belief import Belief
    from router_sdk_thompson.posteriors.cells import CellEvidence
    from router_sdk_thompson.posteriors.over_features import FeatureSnapshot
    from router_sdk_thompson.posteriors.over_text import TextSnapshot


MANY = 4
"""Outcomes from which on it costs less to learn from them in columns."""
NO_FEATURES: Mapping[str, FeatureValue] = {}


Voice = tuple[int, float, "Belief | None"]
"""One policy's part in an answer: which of ``POLICIES``, its share, above 0, and what it says; None for the cells,
which say it elsewhere."""


class ContextualSnapshot(NamedTuple):
    """One publication of all posteriors, and of how texts are encoded for them."""

    config: ThompsonConfig
    dense: FeatureSnapshot
    text: TextSnapshot
    weights: PolicyWeights
    reader: RequestEncoder

    def voices(self, task: Task, agents: AgentSet, context: RouteContext) -> list[Voice]:
        """Whose answers are mixed, and what they say; none while what the task carries tells too little."""
        encoder, text, awake = self.config.encoder, task.text, []
        if encoder is None and text:
            if self.text.ready:
                awake.append(TEXT)
            else:
                context.encode(self.reader)  # is logged, so that it is learnt where privacy keeps no text
        if task.features or (encoder is not None and text):
            awake += [
                policy
                for policy, snapshot in ((FEATURES, self.dense.curved), (LINEAR, self.dense.straight))
                if snapshot is not None and snapshot.ready
            ]
        if not awake:
            return []
        found: list[Voice] = []
        for policy, share in shares_among(self.weights.of(task.task_type), (CELLS, *awake)).items():
            belief = None if policy == CELLS else self._belief(policy, task, agents, context)
            if belief is not None or policy == CELLS:
                found.append((policy, share, belief))
        return found

    def _belief(self, policy: int, task: Task, agents: AgentSet, context: RouteContext) -> Belief | None:
        text = task.text
        if policy != TEXT:
            snapshot = self.dense.curved if policy == FEATURES else self.dense.straight
            vector = context.encode(self.reader) if text and self.config.encoder else None
            return None if snapshot is None else snapshot.belief(task, agents, vector)
        return self.text.belief(agents, context.encode(self.reader), task.task_type, task.features)


class ContextualPolicy:
    """The contextual half of the strategy.

    Without a dense encoder a text goes, hashed, to the sparse posterior, and features to the dense ones; a task with
    both teaches all. With an encoder all go to the dense ones. The cells learn from everything, too, and whose
    favourites would have earned most leads.

    Args:
        config: The strategy's configuration.
        services: Encoders and seed.

    Raises:
        InvalidConfigError: if the configured encoder is not registered.
    """

    def __init__(self, config: ThompsonConfig, services: StrategyServices) -> None:
        if config.encoder is not None and config.encoder not in services.encoders:
            raise InvalidConfigError(f"thompson: encoder {config.encoder!r} is not registered")
        self._config, self._services = config, services
        seed = services.seed or 0
        self._probe = ContextProbe()
        self.dense = FeatureModel(config, seed)
        self.text = TextModel(config, seed)
        self.requests = RequestFinder()
        self._reader: RequestEncoder | None = None
        self.comparison = PolicyComparison(POLICIES, TRUST, labels=config.labels != "ignore")

    def prepare(self, agents: AgentSet) -> None:
        """Read what agents say of themselves."""
        self.requests.prepare([text for agent in agents for text in (*agent.examples, agent.description) if text])
        if self._config.encoder is None:
            self.text.prepare(agents)
            self.comparison.selection.trust(TOLD if self.text.told else TRUST)

    def learn(self, examples: Sequence[Example], cells: CellEvidence) -> set[str]:
        """Take in the examples: the cells all of them, the posteriors those whose tasks carry more than a type.

        Returns:
            The task types that were touched.
        """
        if len(examples) >= MANY:
            return self.learn_columns(ExampleColumns.of(list(examples)), cells)
        return self._learn_each(examples, cells)

    def learn_columns(self, columns: ExampleColumns, cells: CellEvidence) -> set[str]:
        """``learn`` of a batch, to the same bits: in columns as far as tasks carry nothing, or a text and no more."""
        if self._probe.bare(columns):
            return cells.fold_columns(columns)
        told = self._first_rewards(columns)
        if told is None:
            return self._learn_each(columns.examples, cells)
        touched: set[str] = set()
        begin = first = 0
        for other in [*sorted(columns.others), len(columns)]:
            if begin < other:
                touched |= self._learn_first(told, first, columns, begin, other, cells)
            if other < len(columns):
                touched |= self._learn_each([columns.others[other]], cells)
            begin, first = other + 1, first + other - begin
        return touched

    def _first_rewards(self, columns: ExampleColumns) -> FirstRewards | None:
        """What is learnt in columns of a batch: all but ``others``. None where that cannot be."""
        others = columns.others
        places = [place for place in range(len(columns)) if place not in others] if others else range(len(columns))
        texts = columns.texts(places, self._encoder.tag) if places else None
        if texts is None:
            return None
        told = columns.decision_id, columns.task_type, columns.agent, columns.reward, columns.at
        decision_id, task_type, agent, reward, at = (_chosen(column, places) for column in told) if others else told
        known = texts.eligible, agent, reward, texts.propensity, at, texts.vector
        return FirstRewards(decision_id, task_type, *known, others=[])

    def _learn_first(
        self, told: FirstRewards, first: int, columns: ExampleColumns, begin: int, end: int, cells: CellEvidence
    ) -> set[str]:
        """Learn what stands in columns from one place to another, and in ``told`` from ``first`` on."""
        last = first + end - begin
        if not self._probe.texts(told.task_type[first:last]):
            told.others.extend([None] * (end - begin))
            return self._learn_each(columns.examples[begin:end], cells)
        requests = self.requests
        read = [begin + place for place, name in enumerate(told.decision_id[first:last]) if requests.asks(name)]
        for task, _ in columns.carried(read):
            requests.learn(task.text)
        comparison, sparse = self.comparison, self._config.encoder is None
        asked, others = comparison.ask_first(
            told.decision_id[first:last],
            told.eligible[first:last],
            told.propensity[first:last],
            told.reward[first:last],
            presumed=sparse and self.text.told,
        )
        told.others.extend(others)
        # What each is compared by is known before it. Neither posteriors nor cells hang on what comes of it.
        places = [first + place for place in asked]
        touched, tallies = cells.fold_places(
            columns, begin, end, {begin + place: told.eligible[first + place] for place in asked}
        )
        if sparse:
            favourites = [(-1, place, -1, -1) for place in self.text.learn_first(told, first, last, frozenset(places))]
        else:
            favourites = [(-1, -1, *pair) for pair in self.dense.learn_first(told, first, last, frozenset(places))]
        for place, found, tally in zip(places, favourites, tallies, strict=True):
            if max(found) >= 0:
                expected = rates(tally, comparison.scale.current.mean)
                best = expected.index(max(expected))
                comparison.note(told.one(place), told.vector[place], (best, *found[1:]), expected)
        return touched

    def _learn_each(self, examples: Sequence[Example], cells: CellEvidence) -> set[str]:
        """Learn from the examples one by one."""
        config, kind_of, comparison = self._config, self._probe.kind, self.comparison
        hashed = config.encoder is None
        folded = 0
        touched: set[str] = set()
        for place, example in enumerate(examples):
            kind = kind_of(example)
            if kind == BARE:
                continue
            has_text, has_features = kind
            seen = self._encoded(example) if has_text else None
            vector, ids = (None, seen) if hashed else (seen, None)
            new = example.previous is None and example.revision == 0
            if comparison.asks(example, ids if vector is None else vector, new=new):
                # Each is compared by what was known before it, so what came earlier is learnt now.
                touched |= cells.fold(examples[folded:place])
                folded = place
                self._compare(example, cells, ids, vector, has_features=has_features)
            told = changes(example, config.labels)
            if not told:
                continue
            if not has_text or vector is not None:
                self.dense.learn(example, told, described(example.task), vector, comparison.feedback.others())
            elif hashed:
                self._learn_text(example, told, ids, has_features)
        return touched | cells.fold(examples[folded:] if folded else examples)

    @property
    def _encoder(self) -> Encoder:
        """What texts are encoded by."""
        name = self._config.encoder
        return TEXT_ENCODER if name is None else self._services.encoders[name]

    def _encoded(self, example: Example) -> NDArray[Any] | None:
        """What was logged of a text, or what it is encoded to now; None of no text. Requests are learnt by it."""
        encoder = self._encoder
        found = example.vectors.get(encoder.tag)
        if found is None and (text := example.task.text):
            (found,) = RequestEncoder(encoder, self.requests.evidence).encode([text])
        if example.previous is None and self.requests.asks(example.decision_id):
            self.requests.learn(example.task.text)
        return found

    def _learn_text(
        self, example: Example, told: Sequence[Change], ids: NDArray[Any] | None, has_features: bool
    ) -> None:
        if ids is not None:
            features = example.task.features if has_features else NO_FEATURES
            feedback = self.comparison.feedback
            if features:
                self.dense.learn(example, told, described(example.task), None, feedback.others())
            others = feedback.others(presumed=self.text.told or example.propensity is None)
            self.text.learn(example, told, ids, features, None if self.comparison.again else others)
        elif has_features:
            self.dense.learn(example, told, described(example.task), None, self.comparison.feedback.others())

    def _compare(
        self,
        example: Example,
        cells: CellEvidence,
        ids: NDArray[Any] | None,
        vector: NDArray[Any] | None,
        *,
        has_features: bool,
    ) -> None:
        comparison, names = self.comparison, example.eligible
        favourites: Favourites = ()
        expected: list[float] = []
        if not comparison.observing:
            expected = rates(cells.records(example.task_type, names), comparison.scale.current.mean)
            features = example.task.features if has_features else NO_FEATURES
            found = [expected.index(max(expected)), -1, -1, -1]
            if ids is not None:
                found[TEXT] = self.text.favourite(names, ids, example.task_type, features)
            if features or vector is not None:
                told = described(example.task)
                found[FEATURES] = self.dense.curved.favourite(names, told, vector)
                found[LINEAR] = self.dense.straight.favourite(names, told, vector)
            favourites = tuple(found)
            if max(favourites[1:]) < 0:
                return
        others = comparison.feedback.others(presumed=True) if vector is None else None
        comparison.note(example, ids if vector is None else vector, favourites, expected, others)

    def publish(self) -> ContextualSnapshot:
        """Publish what was learnt."""
        reader, evidence = self._reader, self.requests.evidence
        if reader is None or reader.requests is not evidence:
            reader = self._reader = RequestEncoder(self._encoder, evidence)
        return ContextualSnapshot(
            self._config, self.dense.publish(), self.text.publish(), self.comparison.weights, reader
        )

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.dense.forget(agents)
        self.text.forget(agents)

    def save(self, folder: Path) -> None:
        """Write what was learnt."""
        self._probe.save(folder / "kinds.json")
        told = json.dumps(self.comparison.state(), allow_nan=False)
        (folder / "comparison.json").write_text(told, encoding="utf-8")
        self.dense.save(folder)
        self.text.save(folder)
        self.requests.save(folder)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        self._probe.load(folder / "kinds.json")
        try:
            self.comparison.restore(json.loads((folder / "comparison.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(f"comparison.json cannot be used: {error}") from error
        self.dense.load(folder)
        self.text.load(folder)
        self.requests.load(folder)

    def report(self) -> dict[str, Any]:
        """What the posteriors have seen, and the share of each policy by task type."""
        return {
            "dense": self.dense.report(),
            "text": self.text.report(),
            "policies": self.comparison.report(),
            "rival_rate": self.comparison.feedback.others(),
        }

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop what was kept of these decisions."""
        self.dense.forget_examples(decision_ids)
        self.comparison.forget_examples()


def _chosen(column: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [column[place] for place in places]
