"""Sends tasks to the posterior that fits what they carry: a text, features, an embedding, or nothing but a type.

Which task types come with a text or features is found out without loading every task from the log: whether a type is
bare is looked up at its first eight examples and then ever more rarely, by its count alone, so that every process that
reads the log finds the same.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from router_sdk.plugin import DEFAULT_TASK_TYPE, CorruptArtifactError, InvalidConfigError
from router_sdk_thompson.features.hashed_text import TEXT_TAG, TextFeatures, text_ids
from router_sdk_thompson.labels import changes, first_reward
from router_sdk_thompson.policy.fourier_selection import WARM_UP, FourierSelection
from router_sdk_thompson.policy.model_selection import ModelSelection, Selection
from router_sdk_thompson.posteriors.over_text import TextModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_sdk.plugin import (
        AgentSet,
        Encoder,
        Example,
        ExampleColumns,
        FeatureValue,
        RouteContext,
        StrategyServices,
        Task,
    )
    from router_sdk_thompson.config import ThompsonConfig
    from router_sdk_thompson.labels import Change
    from router_sdk_thompson.policy.fourier_selection import FourierSnapshot
    from router_sdk_thompson.posteriors.belief import Belief
    from router_sdk_thompson.posteriors.over_text import TextSnapshot
    from router_sdk_thompson.posteriors.over_vectors import VectorSnapshot


ALWAYS = 8
MANY = 4
"""Outcomes from which on it costs less to encode their embeddings together."""
NO_FEATURES: Mapping[str, FeatureValue] = {}


class Kind(NamedTuple):
    """What tasks of a type carry."""

    text: bool
    features: bool


BARE = Kind(False, False)


class ContextProbe:
    """What each task type's tasks carry, as far as was seen.

    Attributes:
        counts: Examples per task type.
        kinds: What they carried.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.kinds: dict[str, Kind] = {}

    def kind(self, example: Example) -> Kind:
        """What tasks of this example's type carry, this one included if it is looked at."""
        task_type = example.task_type
        count = self.counts[task_type] = self.counts.get(task_type, 0) + 1
        kind = self.kinds.get(task_type, BARE)
        if count > ALWAYS and count & (count - 1):
            return kind
        task = example.task
        # Where privacy keeps no text, its vectors still tell that there was one.
        seen = Kind(kind.text or bool(task.text) or bool(example.vectors), kind.features or bool(task.features))
        if seen == kind:
            return kind
        self.kinds[task_type] = seen
        return seen

    def bare(self, columns: ExampleColumns) -> bool:
        """Whether no task of a batch carries more than a type, as far as is looked; only then they are counted."""
        counts = Counter(columns.task_type)
        if any(self.kinds.get(task_type, BARE) != BARE for task_type in counts):
            return False
        places: list[int] = []
        for task_type, count in counts.items():
            before = self.counts.get(task_type, 0)
            after = before + count
            looks = [*range(before + 1, min(after, ALWAYS) + 1)]
            looks += [1 << bit for bit in range(max(before, ALWAYS).bit_length(), after.bit_length())]
            if looks:
                there = [place for place, name in enumerate(columns.task_type) if name == task_type]
                places += [there[look - before - 1] for look in looks]
        if any(task.text or task.features or vectors for task, vectors in columns.carried(places)):
            return False
        for task_type, count in counts.items():
            self.counts[task_type] = self.counts.get(task_type, 0) + count
        return True

    def save(self, path: Path) -> None:
        """Write what was seen."""
        path.write_text(json.dumps({"counts": self.counts, "kinds": self.kinds}), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it cannot be read.
        """
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            counts = {str(name): int(count) for name, count in state["counts"].items()}
            kinds = {str(name): Kind(bool(kind[0]), bool(kind[1])) for name, kind in state["kinds"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CorruptArtifactError(f"{path.name} cannot be used: {error}") from error
        self.counts, self.kinds = counts, kinds


class ContextualSnapshot(NamedTuple):
    """One publication of both posteriors."""

    config: ThompsonConfig
    dense: FourierSnapshot | VectorSnapshot | None
    text: TextSnapshot
    selection: Selection

    def belief(self, task: Task, agents: AgentSet, context: RouteContext) -> Belief | None:
        """What the posterior that fits the task says; None while it knows too little."""
        encoder, text = self.config.encoder, task.text
        if encoder is not None or not text:
            if self.dense is None:
                return None
            return self.dense.belief(task, agents, context.encode(encoder) if text and encoder else None)
        if not self.text.ready:
            return None
        if task.features and self.dense is not None and self.selection.second(task.task_type):
            found = self.dense.belief(task, agents, None)
            if found is not None:
                return found
        try:
            ids = context.encode(TextFeatures.name)
        except KeyError:  # The encoder is not registered: then the ids are simply not logged.
            ids = text_ids(text)
        return self.text.belief(agents, ids, task.task_type, task.features)


class ContextualPolicy:
    """The contextual half of the strategy.

    Without a dense encoder a text goes, hashed, to the sparse posterior, and features alone to the dense one; a task
    with both teaches either, and the one that predicts better answers. With an encoder all go to the dense one.

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
        self.dense = FourierSelection(config, seed)
        self.text = TextModel(config, seed)
        self._model_selection = ModelSelection()

    def prepare(self, agents: AgentSet) -> None:
        """Read the agents' examples."""
        if self._config.encoder is None:
            self.text.prepare(agents)

    def learn(self, examples: Sequence[Example]) -> None:
        """Take in the examples whose tasks carry more than a type."""
        config, kind_of = self._config, self._probe.kind
        encoder = None if config.encoder is None else self._services.encoders[config.encoder]
        together = len(examples) >= MANY
        run: list[tuple[Example, NDArray[Any]]] = []
        for example in examples:
            kind = kind_of(example)
            if kind is BARE:
                continue
            has_text, has_features = kind
            vector = self._vector(example, encoder) if has_text and encoder is not None else None
            if together and vector is not None and _first_reward_of_a_text(example):
                run.append((example, vector))
                continue
            if run:
                self.dense.learn_first(run)
                run = []
            told = changes(example, config.labels)
            if not told:
                continue
            if not has_text or vector is not None:
                self.dense.learn(example, told, example.task, vector)
            elif encoder is None:
                self._learn_text(example, told, has_features)
        if run:
            self.dense.learn_first(run)

    def learn_columns(self, columns: ExampleColumns) -> None:
        """``learn`` of a batch, which teaches nothing where no task carries more than a type."""
        if not self._probe.bare(columns):
            self.learn(columns.examples)

    def _learn_text(self, example: Example, told: Sequence[Change], has_features: bool) -> None:
        ids = example.vectors.get(TEXT_TAG)
        if ids is None and (text := example.task.text):
            ids = text_ids(text)
        if ids is not None:
            features = example.task.features if has_features else NO_FEATURES
            if features:
                self._compare(example, told, ids)
                self.dense.learn(example, told, example.task, None)
            self.text.learn(example, told, ids, features)
        elif has_features:
            self.dense.learn(example, told, example.task, None)

    def _compare(self, example: Example, told: Sequence[Change], ids: NDArray[Any]) -> None:
        if min(self.dense.events, self.text.events) < WARM_UP:
            return
        found, task = first_reward(told), example.task
        if found is None or not len(ids):
            return
        agent, reward = found
        by_text = self.text.predicted(agent, ids, task.task_type, task.features)
        self._model_selection.note(task.task_type, reward - by_text, reward - self.dense.predicted(agent, task))

    def _vector(self, example: Example, encoder: Encoder) -> NDArray[Any] | None:
        """The logged embedding, or what the text is encoded to now."""
        vector = example.vectors.get(encoder.tag)
        if vector is None and (text := example.task.text):
            vector = encoder.encode([text])[0]
        return vector

    def publish(self) -> ContextualSnapshot:
        """Publish what was learnt."""
        return ContextualSnapshot(
            self._config, self.dense.publish(), self.text.publish(), self._model_selection.current
        )

    def forget(self, agents: Collection[str]) -> None:
        """Drop what is known of these agents."""
        self.dense.forget(agents)
        self.text.forget(agents)

    def save(self, folder: Path) -> None:
        """Write what was learnt."""
        self._probe.save(folder / "kinds.json")
        self._model_selection.save(folder / "contest.json")
        self.dense.save(folder)
        self.text.save(folder)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: if it is not valid.
        """
        self._probe.load(folder / "kinds.json")
        self._model_selection.load(folder / "contest.json")
        self.dense.load(folder)
        self.text.load(folder)

    def report(self) -> dict[str, Any]:
        """What either posterior has seen."""
        selection = self._model_selection.current
        answers = {name: "features" if selection.second(name) else "text" for name in selection.types}
        return {"dense": self.dense.report(), "text": self.text.report(), "answers": answers}


def _first_reward_of_a_text(example: Example) -> bool:
    """Whether an outcome is new, says how its agent did and no more, and the task is nothing but a text."""
    if example.previous is not None or example.reward is None or example.agent is None or example.signals.labelled:
        return False
    return example.task_type == DEFAULT_TASK_TYPE and not example.task.features
