"""One fit as its caller sees it, what it needs, what a child process is told of it, and what it measured."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from router_sdk.errors import CorruptArtifactError, FitError
from router_sdk.evaluation.fit_report import FitReport, HeldOutFigures
from router_sdk.gate import Comparison
from router_sdk.private_files import write_private
from router_sdk.rewards import OutcomeReward, RewardFunction
from router_sdk.waiting import Promise, take

if TYPE_CHECKING:
    from router_sdk.config import RouterConfig
    from router_sdk.learning.learner import Learner
    from router_sdk.plugins import PluginRegistry
    from router_sdk.records import ModelVersion
    from router_sdk.store import Store
    from router_sdk.store.quarantine import Ranges
    from router_sdk.strategy import Encoder

FitState = Literal["waiting", "running", "promoted", "held", "refused", "failed", "stopped"]


class Fit:
    """A fit in the background.

    Attributes:
        strategy: Whose.
        reason: Why it was started.
        state: ``"waiting"`` for another one, ``"running"``, then ``"promoted"``, ``"held"`` (it passed the gate, and
            what serves is pinned, or was changed meanwhile, or it challenges what serves), ``"refused"`` by the gate,
            ``"failed"`` or ``"stopped"``.
        share: Share done, in [0, 1].
        words: What is going on, or why it ended as it did.
        version: What came of it, where it got that far.
        triggered: Whether it started by itself.
    """

    def __init__(self, strategy: str, reason: str, *, triggered: bool = False) -> None:
        self.triggered = triggered
        self.strategy = strategy
        self.reason = reason
        self.state: FitState = "running"
        self.share = 0.0
        self.words = "starting"
        self.version: ModelVersion | None = None
        self.started = time.time()
        self._stop = False
        self._done: Promise[None] = Promise()
        self._at_end: deque[Callable[[], object]] = deque()

    def wait(self, timeout: float | None = None) -> Fit:
        """Return once it has ended.

        Raises:
            FitError: if it failed.
            TimeoutError: if it goes on after ``timeout`` seconds.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the fit of {self.strategy} goes on after {timeout} s: {self.words}")
        if self.state == "failed":
            raise FitError(self.words)
        return self

    def stop(self) -> None:
        """Ask it to stop; what it checkpointed is used by the next fit of the same data."""
        self._stop = True

    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self._done.done

    def wait_for_turn(self) -> None:
        """Note that another fit is running."""
        self.state, self.words = "waiting", "another fit is running"

    def progress(self, share: float, words: str) -> None:
        """Note how far it is."""
        self.share, self.words = share, words

    def end(self, state: FitState, words: str, version: ModelVersion | None = None) -> None:
        """Note how it ended."""
        self.state, self.words, self.version = state, words, version
        self.share = 1.0 if version is not None else self.share
        self._done.keep(None)
        self._tell()

    def at_end(self, work: Callable[[], object]) -> None:
        """Call ``work`` when the fit has ended, at once if it has."""
        self._at_end.append(work)
        if not self.running:
            self._tell()

    def _tell(self) -> None:
        for work in take(self._at_end, len(self._at_end)):
            work()

    def to_dict(self) -> dict[str, object]:
        """How it stands, as JSON values."""
        return {
            "strategy": self.strategy,
            "reason": self.reason,
            "state": self.state,
            "share": self.share,
            "words": self.words,
            "started": self.started,
            "version": None if self.version is None else self.version.version,
        }


@dataclass(slots=True)
class Ending:
    """How a fit ended.

    Attributes:
        state: In which state.
        words: Why, for who waits for it.
        said: Why, for the log: without the words of a foreign error, which may quote what people wrote.
        noted: Whether it is an attempt that counts.
        imported: Whether nothing was fitted, so that it says nothing of what is fresh.
    """

    state: FitState = "failed"
    words: str = "it ended without a result"
    said: str = "it ended without a result"
    noted: bool = True
    imported: bool = False
    upto: int = 0
    fresh_after: int = 0
    report: FitReport | None = None
    version: ModelVersion | None = None

    def end(self, state: FitState, words: str, said: str | None = None) -> None:
        """Note it."""
        self.state, self.words, self.said = state, words, words if said is None else said


REQUEST = "request.json"
BASE = "base"
"""The state of what serves."""
SCRATCH = "scratch"
CHECKPOINTS = "checkpoints"
VERSION = "version"
REPORT = "report.json"
DATASET = "dataset.json"


@dataclass(frozen=True, slots=True)
class FitRequest:
    """One fit.

    Attributes:
        strategy: Registered name of the strategy.
        settings: Its whole configuration, as it serves.
        overrides: What of it is different in this fit.
        encoders: Each encoder's own configuration, by name.
        store: The log's name, as ``engine_of`` takes it.
        reward: Name of a registered reward, or the arguments of an ``OutcomeReward``.
        agents: The agents to fit for, as JSON values.
        upto: Position in the log up to which to read.
        fresh_after: Position that the fit before reached.
        held_out: Share of the examples to keep apart.
        needed: Examples that the gate needs to judge a candidate.
        folder: Where the state of what serves lies, and where the results go.
        caches: The strategy's folder for caches.
        device: See ``FitContext``.
        seed: See ``FitContext``.
        synthetic: Whether the log holds made-up examples.
        behind: Those behind it in the chain: name, configuration, and folder for caches.
        golden: Tasks that must be answered as they say, see ``GateConfig``: a file, or the tasks.
        validation: The user's own file to judge by.
        joint: Whether to measure the gap to a version that is fitted anew on all examples at once.
        fitted: Whether what serves came of a fit.
        training: What to train on, see ``TrainingConfig``, as JSON values.
        made: Folder of a state that somebody else made, to be judged in the place of a fit; None fits.
        learns: Whether the version learns what judged it and what was left over; an imported one stays as it is.
        left_out: Positions that are quarantined.
        start: Folder of a checkpoint to start from; None starts from what serves.
    """

    strategy: str
    settings: Mapping[str, Any]
    overrides: Mapping[str, Any]
    encoders: Mapping[str, Mapping[str, Any]]
    store: str
    reward: str | Mapping[str, Any]
    agents: list[dict[str, Any]]
    upto: int
    fresh_after: int
    held_out: float
    needed: int
    folder: str
    caches: str
    device: str
    seed: int
    synthetic: bool
    behind: Sequence[tuple[str, Mapping[str, Any], str]] = ()
    golden: str | Sequence[Mapping[str, Any]] = ()
    validation: str | None = None
    joint: bool = False
    fitted: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    made: str | None = None
    learns: bool = True
    left_out: Ranges = ()
    start: str | None = None

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_private(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**told, "left_out": tuple((begin, end) for begin, end in told.get("left_out", ()))})


def portable_reward(
    reward: RewardFunction, name: str | None, plugins: PluginRegistry
) -> str | Mapping[str, Any] | None:
    """How a child process can name this reward, or None where it cannot."""
    if type(reward) is OutcomeReward:
        return reward.to_dict()
    return name if name is not None and plugins.reward(name) is reward else None


def reward_of(described: str | Mapping[str, Any], plugins: PluginRegistry) -> RewardFunction:
    """The reward that ``portable_reward`` described."""
    return plugins.reward(described) if isinstance(described, str) else OutcomeReward(**described)


def write_report(report: FitReport, path: Path) -> None:
    """Write a report."""
    write_private(path, json.dumps(report.to_dict()))


def read_report(path: Path) -> FitReport:
    """Read what ``write_report`` wrote.

    Raises:
        CorruptArtifactError: if it is not there, or no report.
    """
    try:
        return FitReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{path.name}: no report of a fit can be read ({type(error).__name__})") from error


def comparison(report: FitReport, parent: ModelVersion | None) -> Comparison:
    """What the gate judges by.

    Args:
        report: What the fit measured.
        parent: The version that served; None is the strategy without any fit.

    Raises:
        FitError: if an earlier release wrote the report.
    """
    if report.evidence is None:
        raise FitError("the fit's report lacks what the gate looks at: fit again")
    return Comparison(
        strategy=report.strategy,
        serving=report.before,
        candidate=report.after,
        held_out=report.held_out,
        forgetting=report.forgetting,
        evidence=report.evidence,
        settings=report.settings,
        unchanged=parent is not None and parent.data_hash == report.data_hash,
    )


def summary(report: FitReport) -> dict[str, Any]:
    """What the registry keeps of a report, as JSON values."""

    def short(figures: HeldOutFigures) -> dict[str, Any]:
        names = ("accuracy", "value", "ess", "log_loss", "abstained", "ece", "macro_f1")
        return {name: getattr(figures, name, None) for name in names}

    return {
        "held_out": report.held_out,
        "duration_s": report.duration_s,
        "before": short(report.before),
        "after": short(report.after),
        "curve": [dict(point) for point in report.curve],
        "threshold": None if report.threshold is None else dict(report.threshold),
        "norm": None if report.evidence is None else report.evidence.parameters.norm,
    }


@dataclass(frozen=True, slots=True)
class FitServices:
    """What all attempts of a router have in services.

    Attributes:
        store: The log, and the folder beside it.
        config: Device, executor, share to hold out, seed, encoders' configurations.
        reward: Turns outcomes into rewards.
        plugins: What a child process finds, too.
        encoders: Registered encoders by name.
        learner: On whose thread a state is saved.
    """

    store: Store
    config: RouterConfig
    reward: RewardFunction
    plugins: PluginRegistry
    encoders: Mapping[str, Encoder]
    learner: Learner
