"""What a plugin subclasses: a way to choose, and a way to embed text."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from router_sdk.errors import NotTrainableError

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from router_sdk.records import (
        AgentSet,
        Distribution,
        Evidence,
        Example,
        ExampleColumns,
        FeatureValue,
        Task,
        TrainingData,
    )


class StrategyConfig(BaseModel):
    """Base of a strategy's ``Config``: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    confidence_threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Below this calibrated confidence the router treats the proposal as an abstention and asks the next strategy. None
    takes what the serving version's fit derived from the log, and 0 where there is none; a number always holds."""


class EncoderConfig(BaseModel):
    """Base of an encoder's ``Config``: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(slots=True, eq=False)
class Proposal:
    """What a strategy returns: the *policy's* distribution π(a | x).

    Build it once and return it again where nothing changed: the router keeps what it derives from a
    proposal on the proposal itself, so that a request only samples.

    Attributes:
        probabilities: One entry for each agent that was given and no other, each at least 0, summing to 1.
        scores: Scores on the strategy's own scale, for the ranking; None ranks by probability.
        confidence: Expected reward of the favourite in [0, 1], as well as the strategy knows it; None means its
            probability. The router corrects it by what came of earlier ones.
        evidence: Why, for ``Decision.explain``; a callable is called only when somebody asks.
        no_agent_fits: The decision is that nobody should get the task; probabilities are ignored.
    """

    probabilities: Mapping[str, float]
    scores: Mapping[str, float] | None = None
    confidence: float | None = None
    evidence: Evidence | None = None
    no_agent_fits: bool = False
    distribution: Distribution | None = field(default=None, repr=False)


class Restriction(NamedTuple):
    """A hard rule's word: only these agents may be chosen, and why."""

    agents: Collection[str]
    reason: str


class RouteContext(ABC):
    """What a strategy may know about one request besides the task and the agents.

    Attributes:
        now: Time of the request, in seconds since the epoch.
    """

    __slots__ = ("now",)
    now: float

    @property
    @abstractmethod
    def rng(self) -> np.random.Generator:
        """The router's generator; the same seed and the same requests give the same draws."""

    @property
    @abstractmethod
    def history(self) -> tuple[str, ...]:
        """Agents that acted in this session before, oldest first: the task's own, then the router's memory."""

    def kept(self, features: Mapping[str, FeatureValue]) -> Mapping[str, FeatureValue]:
        """Features under the names and values by which the log keeps them, and ``Example.task`` shows them.

        Some privacy modes hash names and texts. A strategy that learns of features looks them up like this.
        """
        return features

    @abstractmethod
    def encode(self, encoder: str | Encoder) -> NDArray[Any]:
        """The task's text as that encoder sees it, computed once per request and logged with the decision.

        Args:
            encoder: Name of a registered encoder, or an encoder of the strategy's own, such as a fine-tuned one.

        Raises:
            KeyError: if no encoder of that name is registered.
        """

    def encode_batch(self, encoder: str | Encoder, contexts: Sequence[RouteContext]) -> list[NDArray[Any]]:
        """``encode`` of each of some requests of this one's batch, in order; what is not known is encoded together.

        Args:
            encoder: As in ``encode``.
            contexts: The requests, this one among them where it is asked for as well.
        """
        return [context.encode(encoder) for context in contexts]


@dataclass(slots=True, frozen=True)
class StrategyServices:
    """What a strategy gets at construction; nothing is global.

    Attributes:
        folder: A folder of the strategy's own, for caches; it may be deleted between runs.
        encoders: Registered encoders by name, made at first use.
        logger: Where to log.
        seed: Seed for the strategy's own generator, or None for fresh entropy.
        keep: Gives a folder that was written whole and never again, such as a fine-tuned encoder that ``load`` finds in
            a saved state, a place that lasts while the returned object is held: saved states come and go.
    """

    folder: Path
    encoders: Mapping[str, Encoder] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("router_sdk.strategy"))
    seed: int | None = None
    keep: Callable[[Path], Kept] = lambda folder: _Lasting(folder)


class Prefetched(NamedTuple):
    """What a strategy has begun for a task, and how long a request may wait for it.

    Attributes:
        done: Ends once ``propose`` finds what was begun, or it came to nothing; with a result, never an exception.
        timeout_s: Longest wait, in seconds; what comes later serves later tasks.
    """

    done: Future[None]
    timeout_s: float


class Kept(Protocol):
    """A folder that lasts while this object is held."""

    @property
    def path(self) -> Path:
        """Where it stands; never written to."""


@dataclass(slots=True, frozen=True)
class _Lasting:
    """A folder that nobody will delete."""

    path: Path


@dataclass(slots=True, frozen=True)
class FitContext:
    """What ``fit`` may use.

    Attributes:
        folder: An empty temporary folder.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` …, or ``"auto"`` for the best there is.
        seed: Seed of everything random in the fit.
        progress: Called with the share done in [0, 1] and a few words.
        stopped: Asked often; once True the fit must end within a second, by raising ``FitStoppedError``.
        checkpoints: A folder that outlives an interrupted fit: what is found there was written by an attempt at
            this same fit. None means that nothing can be resumed.
        start: Folder of a checkpoint to start from, see ``Strategy.warm_starts``; None starts from what serves.
        note: Called with one point of each learning curve, such as ``{"epoch": 1, "loss": .4, "accuracy": .9}``.
    """

    folder: Path
    device: str = "auto"
    seed: int = 0
    progress: Callable[[float, str], None] = lambda share, words: None
    stopped: Callable[[], bool] = lambda: False
    checkpoints: Path | None = None
    start: Path | None = None
    note: Callable[[Mapping[str, float]], None] = lambda point: None


class Encoder(ABC):
    """Turns texts into vectors (dense) or feature ids (sparse), for any strategy to use.

    Attributes:
        name: What strategies ask for.
        precision: Tag of the arithmetic, such as ``"fp32"`` or ``"int8"``; a vector is only comparable with
            vectors of the same name and precision.
    """

    name: ClassVar[str]
    precision: str = "fp32"
    Config: ClassVar[type[EncoderConfig]] = EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config

    @property
    def tag(self) -> str:
        """``name:precision``, under which its vectors are logged."""
        return f"{self.name}:{self.precision}"

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Sequence[NDArray[Any]]:
        """One array per text: a vector of shape ``(d,)``, or feature ids of any length."""


class Strategy(ABC):
    """A way to choose. Subclass it, give it a ``name``, and implement ``propose``.

    ``propose`` is called from many threads and must be pure: read what ``learn`` published, by one reference.
    ``learn`` and ``prepare`` are called by one thread at a time.
    """

    name: ClassVar[str]
    Config: ClassVar[type[StrategyConfig]] = StrategyConfig
    needs_text: ClassVar[bool] = False
    """Whether ``learn`` reads the text of past tasks; a privacy mode that keeps none is then refused."""
    state_version: ClassVar[int] = 1
    """Raise it when ``load`` can no longer read what an older ``save`` wrote: the log is then replayed."""
    warm_starts: ClassVar[bool] = False
    """Whether ``fit`` can start from a checkpoint that somebody else trained, see ``FitContext.start``."""
    parameters: ClassVar[tuple[str, ...]] = ("*",)
    """Patterns of those saved arrays, as ``FILE:ARRAY`` (of ``.npy``, ``FILE``), that are fitted parameters: how long
    they are is followed from version to version. What only grows with the log, such as counts and times, is none."""
    fine_tuned: bool = False
    """Whether the fit that made this object moved an encoder, rather than a head on top of one."""

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        self.config = config
        self.services = services

    def prepare(self, agents: AgentSet) -> None:  # noqa: B027
        """Get ready for these agents. Called off the hot path, at start and whenever the agents change."""

    def warm_up(self) -> str | None:
        """Wait for what ``prepare`` began in the background, such as opening a model; why it failed, if it did."""
        return None

    def restrict(self, task: Task, agents: AgentSet, context: RouteContext) -> Restriction | None:
        """Narrow who is eligible before anybody proposes; None leaves it as it is. For hard rules only."""
        return None

    def prefetch(self, task: Task, agents: AgentSet) -> Prefetched | None:
        """Begin what takes longer than ``propose`` may, such as asking a server; None begins nothing.

        Asked for every task before anybody proposes, of all agents that are available; must return at once. ``aroute``
        gives way while it waits, ``route`` stands still.
        """
        return None

    @abstractmethod
    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """Say with which probability each agent should get the task; None abstains. Pure, thread-safe, no I/O."""

    def propose_batch(
        self, tasks: Sequence[Task], agents: AgentSet, contexts: Sequence[RouteContext]
    ) -> list[Proposal | None]:
        """Propose for many tasks over the same agents; override it where a batch is cheaper than a loop."""
        return [self.propose(task, agents, context) for task, context in zip(tasks, contexts, strict=True)]

    def learn(self, examples: Sequence[Example]) -> None:  # noqa: B027
        """Move a little towards what happened, then publish by one assignment.

        ``learn(a + b)`` must equal ``learn(a); learn(b)``, depend on the examples alone and not on the clock.
        Take an example's ``previous_reward`` back before its ``reward`` is added.

        Where it raises, or ``save`` does afterwards, the router brings another object like this one to where this one
        stood, by ``load``, finds the example that is to blame, and keeps it as a dead letter. This object then loads
        what the other one learnt from the rest.
        """

    def learn_columns(self, columns: ExampleColumns) -> None:
        """``learn`` for a whole batch at once. Override both where arrays are cheaper than an object per example.

        It must come to the same as ``learn(columns.examples)``, which it is unless it is overridden.
        """
        if type(self).learn is not Strategy.learn:
            self.learn(columns.examples)

    def published(self) -> Sequence[tuple[Proposal, AgentSet]]:
        """Proposals that ``propose`` will return again, with their agents: finished off the hot path."""
        return ()

    def fit(self, data: TrainingData, context: FitContext) -> Strategy:
        """Build a new strategy from the log; never touch this one.

        The core compares both on ``data.held_out``, lets the new one ``learn`` those, and has it learn what came
        after ``data.upto`` before it serves.

        Raises:
            NotTrainableError: unless the strategy overrides it.
            FitError: if it failed; the reason is kept, and what serves is untouched.
            FitStoppedError: if ``context.stopped`` said so.
        """
        raise NotTrainableError(f"strategy {self.name!r} learns online only; it has no fit")

    def untaught(self) -> Strategy:
        """Another one with the same configuration, that was taught nothing: each tenant may have a state of its own.

        Called off the hot path. Override it to share what is only read, such as an open encoder.
        """
        return type(self)(self.config, self.services)

    def forget_agents(self, names: Collection[str]) -> None:  # noqa: B027
        """Drop what was learnt of these agents: they were added again with ``fresh=True``."""

    def forget_examples(self, decision_ids: Collection[str]) -> None:  # noqa: B027
        """Drop memories of these decisions: their payload was erased. Sums and fitted weights may stay."""

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write the learnt state; JSON, npy and safetensors only, never pickle. What cannot be read again raises."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Read what ``save`` wrote, in place of what is there. Requests may be served meanwhile.

        Raises:
            CorruptArtifactError: if the state is not valid; the strategy is then as it was, and the router replays
                the log over it.
        """

    def after_fork(self) -> None:  # noqa: B027
        """In a forked child: locks that nobody holds, and what a thread of the parent had begun is begun again."""

    def close(self) -> None:  # noqa: B027
        """End what was begun in the background, within two seconds: the router is closed, or another version serves.

        ``learn`` may be waiting for it on another thread, and is then to come to its end. Closing twice is harmless.
        """

    def expected(self) -> Mapping[str, Mapping[str, float]]:
        """What an average task may expect of each agent: any of ``quality``, ``latency_ms`` and ``cost_usd``."""
        return {}

    def category_distribution(self) -> Mapping[str | None, int]:
        """How many examples it remembers of each agent, for those that keep any: by label, else by who acted.

        None is "no agent fits". Asked on any thread.
        """
        return {}

    def report(self) -> Mapping[str, Any]:
        """What ``status`` should show of the strategy's state.

        Of agents that it found changed, how often, stands under ``changes`` by name: the trigger ``drift`` reads it.
        """
        return {}
