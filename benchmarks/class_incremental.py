"""Class-incremental sequences: intents that arrive task by task, and who learns them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from router_sdk_bert.config import FitSettings, HeadConfig, TextPreparation
from router_sdk_bert.encoding.tokenizer import TextTokens
from router_sdk_bert.encoding.torch_backend import TorchBackend, load_module
from router_sdk_bert.finetuning.carried_state import CarriedWeights
from router_sdk_bert.finetuning.fine_tune import FineTune
from router_sdk_bert.finetuning.model import LinearRows
from router_sdk_bert.finetuning.samples import Sample, SourceEncoder, TrainingSet
from router_sdk_bert.head.head import Head
from router_sdk_bert.head.rows import Row

from router_sdk.plugin import FitContext

DATA = Path(os.environ.get("ROUTER_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NOT_BY_COUNT = 10**9
"""The benchmark says itself when the head is refitted: after each task."""

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Texts of many classes, in tasks.

    Attributes:
        texts: All of them.
        labels: Class of each.
        train: Places of the texts to learn from.
        test: Places of the texts to be judged by.
        tasks: Classes of each task, in the order of arrival.
    """

    texts: Sequence[str]
    labels: NDArray[np.str_]
    train: Places
    test: Places
    tasks: tuple[tuple[str, ...], ...]

    def of(self, places: Places, classes: Sequence[str]) -> Places:
        """Those of the places whose text is of these classes."""
        return places[np.isin(self.labels[places], list(classes))]


def read_stream(name: str, tasks: int, seed: int, *, judged_by: str = "test", most: int | None = None) -> Stream:
    """A data set as a sequence of tasks; the order of the classes comes from the seed.

    Args:
        name: ``"clinc150"`` or ``"banking77"``.
        tasks: How many.
        seed: Of the order.
        judged_by: ``"test"``; ``"val"`` is for choosing settings: where a set has none, a tenth of its training part.
        most: Only so many texts of each class and part, for a quick look.
    """
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["intent"] != "oos"]
    labels = np.array([row["intent"] for row in rows])
    parts = np.array([row["split"] for row in rows])
    if judged_by == "val" and not (parts == "val").any():
        known = np.flatnonzero(parts == "train")
        parts[np.random.default_rng(0).permutation(known)[: len(known) // 10]] = "val"
    order = np.random.default_rng(seed).permutation(np.unique(labels))
    train, test = (_first(np.flatnonzero(parts == part), labels, most) for part in ("train", judged_by))
    split = tuple(tuple(map(str, classes)) for classes in np.array_split(order, tasks))
    return Stream([row["text"] for row in rows], labels, train, test, split)


def _first(places: Places, labels: NDArray[np.str_], most: int | None) -> Places:
    if most is None:
        return places
    return np.sort(np.concatenate([places[labels[places] == one][:most] for one in np.unique(labels[places])]))


class Contestant(ABC):
    """Learns one task after the other, and says of any text of which class seen so far it is."""

    @abstractmethod
    def learn(self, places: Places) -> None:
        """Learn the texts of one task."""

    @abstractmethod
    def choose(self, places: Places, classes: Sequence[str]) -> list[str]:
        """The class of each text."""


@dataclass(frozen=True)
class Score:
    """How a contestant did on one stream.

    Attributes:
        accuracy: Share of all test texts, of all tasks, that it got right at the end.
        forgetting: Mean over all tasks but the last of accuracy just after the task less accuracy at the end.
        seconds: How long it took.
    """

    accuracy: float
    forgetting: float
    seconds: float


def run(contestant: Contestant, stream: Stream) -> Score:
    """Let a contestant learn all tasks; it is judged on each task when that was learnt, and on all at the end."""
    return run_beside(contestant, contestant, stream)[0]


def run_beside(learner: Contestant, other: Contestant, stream: Stream) -> tuple[Score, Score]:
    """The same for two that share what one of them learns, so that only their choices differ."""
    started, seen = time.perf_counter(), list[str]()
    pair = (learner,) if learner is other else (learner, other)
    just_after: list[list[float]] = [[] for _ in pair]
    for classes in stream.tasks:
        seen += classes
        learner.learn(stream.of(stream.train, classes))
        for one, said in zip(pair, just_after, strict=True):
            said.append(_accuracy(one, stream, stream.of(stream.test, classes), seen))
    scores = [_score(one, stream, seen, said, started) for one, said in zip(pair, just_after, strict=True)]
    return scores[0], scores[-1]


def _score(one: Contestant, stream: Stream, seen: Sequence[str], just_after: Sequence[float], started: float) -> Score:
    at_end = [_accuracy(one, stream, stream.of(stream.test, classes), seen) for classes in stream.tasks]
    sizes = [len(stream.of(stream.test, classes)) for classes in stream.tasks]
    lost = [before - after for before, after in zip(just_after[:-1], at_end[:-1], strict=True)]
    accuracy = float(np.average(at_end, weights=sizes))
    return Score(accuracy, float(np.mean(lost or [0.0])), time.perf_counter() - started)


def _accuracy(contestant: Contestant, stream: Stream, places: Places, classes: Sequence[str]) -> float:
    chosen = contestant.choose(places, classes)
    return float(np.mean(np.array(chosen) == stream.labels[places]))


class Embedder:
    """Embeds a stream's texts by one checkpoint, each once."""

    def __init__(self, checkpoint: Path, texts: Sequence[str], max_tokens: int = 128) -> None:
        self.checkpoint = checkpoint
        self.tokenize = TextTokens((checkpoint / "tokenizer.json").read_bytes(), max_tokens, TextPreparation())
        self._run = TorchBackend(load_module(checkpoint), "cpu")
        self._texts, self._known = texts, dict[int, Vectors]()

    def __call__(self, places: Places) -> Vectors:
        """Vectors of shape ``(n, d)``."""
        new = [int(place) for place in places if int(place) not in self._known]
        if new:
            vectors = self._run([self.tokenize(self._texts[place]) for place in new])
            self._known.update(zip(new, vectors, strict=True))
        return np.stack([self._known[int(place)] for place in places])


class Stored(Contestant):
    """The plugin's head over a frozen encoder, refitted after each task on what it stores.

    Args:
        stream: The texts.
        embed: The frozen encoder.
        stored: Most texts stored in all.
        settings: Of the head.
    """

    def __init__(self, stream: Stream, embed: Embedder, stored: int, settings: Mapping[str, Any] | None = None) -> None:
        self._stream, self._embed = stream, embed
        self._config = HeadConfig(
            memory_size=stored, refit_interval=NOT_BY_COUNT, half_life_s=None, change_threshold=None, **settings or {}
        )
        self._head = Head(self._config)

    def learn(self, places: Places) -> None:
        """Store them, and refit."""
        self._head.add(self._rows(places))
        self._head.refit()

    def _rows(self, places: Places) -> list[Row]:
        vectors, labels = self._embed(places), self._stream.labels[places]
        return [
            Row(str(place), int(place), vector, str(label), True)
            for place, vector, label in zip(places, vectors, labels, strict=True)
        ]

    def choose(self, places: Places, classes: Sequence[str]) -> list[str]:
        """By the head."""
        chances = self._head.predict(self._embed(places), tuple(classes)).probabilities
        return [classes[column] for column in chances.argmax(axis=1)]

    @property
    def kept(self) -> Places:
        """Places of the texts that are stored."""
        alive = self._head.memory.columns["alive"][: self._head.memory.used]
        return np.array(
            [int(one) for one, here in zip(self._head.memory.ids, alive, strict=True) if here], dtype=np.int64
        )


class FineTuned(Stored):
    """The plugin's fine-tune at each task; then what is stored is embedded again, and the head refitted.

    Args:
        stream: The texts.
        embed: The encoder to begin with.
        stored: Most texts stored in all.
        settings: Of the fit.
        folder: Where checkpoints go.
    """

    def __init__(self, stream: Stream, embed: Embedder, stored: int, settings: FitSettings, folder: Path) -> None:
        super().__init__(stream, embed, stored)
        self._settings, self._folder = settings, folder
        self._seen: list[str] = []
        self._state: CarriedWeights | None = None
        self._round = 0

    def learn(self, places: Places) -> None:
        """Fine-tune on them and on what is stored."""
        labels = map(str, self._stream.labels[places])
        self._seen += sorted(set(labels) - set(self._seen))
        old, before = self.kept, self._embed.checkpoint
        samples = [*self._samples(old, fresh=False), *self._samples(places, fresh=True)]
        source = SourceEncoder(before, f"round {self._round}", self._embed.tokenize)
        self._round += 1
        target = self._folder / str(self._round)
        training_set, context = TrainingSet(samples, (), tuple(self._seen)), FitContext(self._folder, "auto")
        task = FineTune(source, training_set, self._settings, context, self._state)
        self._state, _ = task.run(target)
        if before.parent == self._folder:
            shutil.rmtree(before)
        self._embed = Embedder(target, self._stream.texts)
        self._head = Head(self._config)
        self._head.add(self._rows(np.concatenate((old, places))))
        self._head.refit()

    def _samples(self, places: Places, *, fresh: bool) -> list[Sample]:
        vectors = self._embed(places) if len(places) else []
        texts, labels = self._stream.texts, self._stream.labels
        return [
            Sample(str(place), texts[place], str(labels[place]), True, fresh=fresh, vector=vector)
            for place, vector in zip(places, vectors, strict=True)
        ]

    @property
    def trained(self) -> tuple[LinearRows, Embedder]:
        """The rows that were trained with the encoder, and the encoder."""
        assert self._state is not None
        return self._state.rows, self._embed


class Unrefitted(Contestant):
    """Chooses as a fine-tuned contestant would without the refit: by the linear rows trained with the encoder."""

    def __init__(self, tuned: FineTuned) -> None:
        self._tuned = tuned

    def learn(self, places: Places) -> None:
        """Nothing: the other one learns."""

    def choose(self, places: Places, classes: Sequence[str]) -> list[str]:
        """By the trained rows."""
        rows, embed = self._tuned.trained
        return [rows.names[column] for column in rows.logits(embed(places)).argmax(axis=1)]
