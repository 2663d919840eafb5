"""One fit of the strategy: from the log to a new version, whatever moves in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from router_sdk.plugin import EncoderUnavailableError, FitError, TooFewExamplesError
from router_sdk_bert.config import FitSettings
from router_sdk_bert.encoding.weights import read_classifier
from router_sdk_bert.finetuning.carried_state import CarriedState, CarriedWeights, has_weights, load_weights
from router_sdk_bert.finetuning.model import SCALE, LinearRows
from router_sdk_bert.finetuning.samples import (
    Sample,
    SourceEncoder,
    TrainingSet,
    filled_buffer,
    from_agents,
    from_examples,
)
from router_sdk_bert.finetuning.stopping import StopWatch
from router_sdk_bert.head.rows import Row

if TYPE_CHECKING:
    from router_sdk.numerics.request_finding import RequestFinder
    from router_sdk.plugin import AgentSet, Encoder, Example, FitContext, TrainingData
    from router_sdk_bert.config import BertConfig

logger = logging.getLogger(__name__)

PIECE = 256
"""Texts embedded, and examples learnt, between two looks at whether to stop."""
TRAINED = 0.8
"""Share of the progress at which the encoder has been trained."""
_NEEDS_TORCH = "fitting needs torch: pip install 'router-sdk-bert[fit]'"


class Choice(NamedTuple):
    """What moves, and why, in a few words."""

    update: Literal["head", "lora", "full"]
    reason: str


def choose_update(settings: FitSettings, samples: Sequence[Sample], agents: int, unseen: int, gone: int) -> Choice:
    """Decide what ``update`` stands for in this fit.

    Moving the encoder gains a point or two, and only where there are enough examples; the head alone takes a second.

    Args:
        settings: What was asked for.
        samples: What the encoder could be trained on.
        agents: How many there are.
        unseen: Samples that the encoder has not seen.
        gone: Examples whose text is gone.
    """
    wanted = settings.update
    if wanted == "head":
        return Choice("head", "the head alone, as was asked for")
    if not samples and gone:
        return Choice(
            "head", f"the head alone: none of {gone} examples has a text that the encoder could be trained on"
        )
    if wanted != "auto":
        return Choice(wanted, f"{wanted}, as was asked for" + (f"; {gone} examples have no text" if gone else ""))
    telling = sum(_tells_who(sample) for sample in samples)
    needed = settings.lora_examples * agents
    if telling < needed or len({sample.label or sample.agent for sample in samples if _tells_who(sample)}) < 2:
        return Choice("head", f"the head alone: {telling} examples say who is right, the encoder needs {needed}")
    if unseen < settings.lora_fresh:
        return Choice("head", f"the head alone: {unseen} examples are new to the encoder, of {settings.lora_fresh}")
    return Choice("lora", f"the encoder by adapters: {telling} examples say who is right, {unseen} are new to it")


def _tells_who(sample: Sample) -> bool:
    """Whether it says which agent is right, by a label or by success."""
    return sample.label is not None or (not sample.labelled and (sample.reward or 0.0) >= 0.5)


class Fittable(Protocol):
    """The strategy as far as a fit knows it: what serves, and the version that is made of it."""

    settings: BertConfig
    carried: CarriedState
    requests: RequestFinder

    @property
    def exclusive(self) -> bool:
        """Whether exactly one agent is taken to be right."""

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, waited for; None where there is none."""

    def next_version(self, carried: CarriedState, exported: Path | None = None) -> Self:
        """A version with an empty head, on an encoder's exported folder or on the encoder that serves."""

    def prepare(self, agents: AgentSet) -> None:
        """Say who can be chosen."""

    def remember(self, rows: Sequence[Row]) -> None:
        """Learn rows that stand in no log."""

    def learn(self, examples: Sequence[Example]) -> None:
        """Learn outcomes."""

    def refit(self) -> None:
        """Refit the head now."""


S = TypeVar("S", bound=Fittable)


def fit_version(serving: S, data: TrainingData, context: FitContext) -> S:
    """Build a new version from the log; what serves is not touched.

    Args:
        serving: What serves.
        data: What happened.
        context: Device, seed, folders, progress, and whether to stop.

    Raises:
        FitError: if there is too little to learn from, no encoder, a loss is not finite, memory does not suffice …
        FitStoppedError: if the context said so.
    """
    return _VersionFit(serving, data, context).run()


class _VersionFit(Generic[S]):
    """One fit.

    Where the encoder moves: fine-tune a copy of it → merge → export → embed the stored texts again → refit the head,
    which calibrates itself. Where it does not, the head alone is refitted.
    """

    def __init__(self, serving: S, data: TrainingData, context: FitContext) -> None:
        self._serving, self._data, self._context = serving, data, context
        self._settings = serving.settings
        self._watch = StopWatch(context.stopped)
        window = self._settings.fit_window
        self._examples = list(data.examples if window is None else data.examples[-window:])
        if len(self._examples) < self._settings.fit_min_examples:
            raise TooFewExamplesError(
                f"there are {len(self._examples)} examples to learn from, where equal ones count once and held-out "
                f"ones do not; a fit needs {self._settings.fit_min_examples}"
            )
        self._encoder: Any = serving.encoder if context.start is None else None
        if self._encoder is None and context.start is None:
            raise FitError("there is no encoder, so nothing can be fitted")
        self._folder: Path | None = getattr(self._encoder, "folder", None)

    def run(self) -> S:
        """The new version."""
        self._watch.check()
        if self._context.start is not None:
            return self._started_from(self._context.start)
        samples, gone = self._samples(self._examples)
        unseen = sum(sample.fresh for sample in samples)
        choice = choose_update(self._settings, samples, len(self._data.agents), unseen, gone)
        if self._folder is None and choice.update != "head":
            choice = Choice("head", "the head alone: the encoder is not one that can be trained")
        (logger.warning if choice.update == "head" != self._settings.update else logger.info)("fit: %s", choice.reason)
        self._context.progress(0.0, choice.reason)
        carried = self._carried(samples)
        if choice.update == "head":
            return self._taught(self._serving.next_version(carried))
        checkpoint = self._fine_tuned(samples, carried, choice)
        carried = replace(carried, upto=0 if self._data.synthetic else self._data.upto)
        return self._taught(self._exported(checkpoint, carried))

    def _started_from(self, start: Path) -> S:
        """A version on somebody's checkpoint, taught what there is."""
        self._context.progress(0.0, f"exporting {start.name}")
        try:
            from router_sdk_bert.finetuning.warm_start import exported_start, measured

            self._encoder = exported_start(start, self._settings, self._context)
            samples, _ = self._samples(self._examples)
            self._context.progress(TRAINED / 2, "measuring what must not be forgotten")
            weights = _weights_of(self._encoder.folder)
            own = from_agents(self._data.agents, fresh=False)
            training_set = TrainingSet(
                samples=self._embedded([*own, *samples]),
                held_out=(),
                names=self._data.agents.names,
                exclusive=self._serving.exclusive,
            )
            folder = measured(self._encoder, training_set, self._settings, self._context, self._watch, weights)
        except ImportError as error:
            raise FitError(_NEEDS_TORCH) from error
        return self._taught(self._serving.next_version(self._carried(samples), folder))

    def _samples(self, examples: Sequence[Example]) -> tuple[list[Sample], int]:
        clip = self._settings.propensity_clip
        return from_examples(
            examples,
            self._data.agents,
            tag=self._encoder.tag,
            fresh_after=min(self._data.fresh_after, self._serving.carried.upto),
            synthetic=self._data.synthetic,
            weigh=lambda example: _weight(example, clip),
            passage=self._serving.requests.evidence.passage,
        )

    def _carried(self, samples: Sequence[Sample]) -> CarriedState:
        """What is handed on while the encoder stays: of a pre-training its own examples, else those handed down."""
        if not self._settings.use_synthetic_data:
            return self._serving.carried.with_synthetic(())
        if not self._data.synthetic:
            return self._serving.carried
        buffer = filled_buffer(samples, self._settings, self._context.seed)
        return self._serving.carried.with_synthetic(list(buffer))

    def _of_old(self, carried: CarriedState) -> list[Sample]:
        """Carried examples to learn from beside the log, of agents that are still there; none in a pre-training."""
        if self._data.synthetic:
            return []
        names = self._data.agents.positions
        return [one for one in carried.synthetic if {one.label, one.agent} - {None} <= names.keys()]

    def _fine_tuned(self, samples: Sequence[Sample], carried: CarriedState, choice: Choice) -> Path:
        """Folder of a checkpoint with the weights that the fit moved."""
        assert self._folder is not None
        try:
            from router_sdk_bert.finetuning.fine_tune import FineTune

            weights = _weights_of(self._folder)
        except ImportError as error:
            raise FitError(_NEEDS_TORCH) from error
        data, context, settings = self._data, self._context, self._settings
        own = from_agents(data.agents, fresh=weights is None)
        held_out, _ = self._samples(data.held_out)
        training_set = TrainingSet(
            samples=self._embedded([*own, *self._of_old(carried), *samples]),
            held_out=held_out,
            names=data.agents.names,
            exclusive=self._serving.exclusive,
        )
        source = SourceEncoder(
            checkpoint=self._folder,
            tag=self._encoder.tag,
            tokenize=lambda text: self._encoder.tokenize([text])[0],
            pooling=self._encoder.description.pooling,
        )
        how = settings.model_copy(update={"update": choice.update})
        shared = replace(context, progress=lambda share, words: context.progress(TRAINED * share, words))
        checkpoint = context.folder / "checkpoint"
        _, progress = FineTune(source, training_set, how, shared, weights).run(checkpoint)
        logger.info("fit: epoch %d of %d was the best", progress.best_epoch, progress.epoch)
        return checkpoint

    def _exported(self, checkpoint: Path, carried: CarriedState) -> S:
        """A version that serves the checkpoint."""
        from router_sdk_bert.encoding.export import export_encoder

        self._watch.check()
        self._context.progress(TRAINED, "exporting the encoder")
        folder = self._context.folder / "encoder"
        try:
            note = export_encoder(checkpoint, folder, self._settings)
            if note:  # who follows the fit hears of it: a child's log is not his
                self._context.progress(TRAINED, f"exporting the encoder: {note}")
            return self._serving.next_version(carried, folder)
        except EncoderUnavailableError as error:
            raise FitError(f"the fine-tuned encoder cannot be exported: {error}") from error

    def _embedded(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples, each with its embedding by the encoder that serves."""
        missing = [place for place, sample in enumerate(samples) if sample.vector is None]
        found = list(samples)
        for part in _pieces(missing):
            self._watch.check()
            vectors = self._encoder.encode([samples[place].text for place in part])
            for place, vector in zip(part, vectors, strict=True):
                found[place] = replace(samples[place], vector=np.asarray(vector, dtype=np.float32))
        return found

    def _taught(self, version: S) -> S:
        """Let the new version learn everything again, and refit."""
        version.prepare(self._data.agents)
        self._remember(version, self._of_old(version.carried))
        for done, part in enumerate(_pieces(self._examples)):
            self._watch.check()
            share = TRAINED + (1.0 - TRAINED) * done * PIECE / len(self._examples)
            self._context.progress(share, "refitting the head")
            version.learn(part)
        self._watch.check()
        version.refit()
        self._context.progress(1.0, "done")
        return version

    def _remember(self, version: S, synthetic: Sequence[Sample]) -> None:
        encoder = version.encoder
        assert encoder is not None
        for part in _pieces(synthetic):
            self._watch.check()
            vectors = encoder.encode([sample.text for sample in part])
            version.remember([_row(sample, vector) for sample, vector in zip(part, vectors, strict=True)])


def _weights_of(folder: Path) -> CarriedWeights | None:
    """What the fit that made an encoder left; else the head of a classifier, with which it was trained."""
    if has_weights(folder):
        return load_weights(folder)
    found = read_classifier(folder)
    if found is None:
        return None
    weight = (found.norm / SCALE * found.weight).astype(np.float32)
    return CarriedWeights(LinearRows(found.labels, weight, found.bias.astype(np.float32)))


def _weight(example: Example, clip: float | None) -> float:
    """What an outcome counts for: as in the head, a reward may be weighed by one over its propensity."""
    if clip is None or example.labelled or not example.propensity:
        return 1.0
    return min(1.0 / example.propensity, clip)


def _row(sample: Sample, vector: Any) -> Row:
    return Row(
        decision_id=sample.decision_id,
        seq=0,
        vector=np.asarray(vector, dtype=np.float32),
        label=sample.label,
        labelled=sample.labelled,
        agent=sample.agent,
        reward=sample.reward,
        weight=sample.weight,
        at=sample.at,
        synthetic=True,
    )


def _pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), PIECE):
        yield items[start : start + PIECE]
