"""One fit, wherever it runs: in a child process or on a thread."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from router_sdk.evaluation.held_out import held_out_evaluation
from router_sdk.gate import HeldOutScore, score_fields, score_of
from router_sdk.records import Agent, AgentSet
from router_sdk.store.artifacts import write_artifact
from router_sdk.store.connection import open_reader
from router_sdk.store.tail import LogTail
from router_sdk.strategy import FitContext
from router_sdk.training.request import BASE, CHECKPOINTS, SCRATCH, VERSION
from router_sdk.training.selection import training_data

if TYPE_CHECKING:
    from router_sdk.records import TrainingData
    from router_sdk.rewards import RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.training.request import FitRequest


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a fit leaves beside the version's folder, as JSON.

    Attributes:
        samples: Examples that it was trained on.
        held_out: Examples that were kept apart.
        duration_s: How long it took, in seconds.
        serving: How what serves did on the held-out examples.
        candidate: How the candidate did.
        curve: Points of the learning curve.
        report: What the candidate says of itself.
    """

    samples: int
    held_out: int
    duration_s: float
    serving: HeldOutScore
    candidate: HeldOutScore
    curve: list[dict[str, float]] = field(default_factory=list)
    report: Mapping[str, Any] = field(default_factory=dict)

    def metrics(self) -> dict[str, Any]:
        """What the registry keeps of it, as JSON values."""
        return {
            "held_out": self.held_out,
            "duration_s": self.duration_s,
            "serving": score_fields(self.serving),
            "candidate": score_fields(self.candidate),
            "curve": self.curve,
        }

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        fields = {**asdict(self), "serving": score_fields(self.serving), "candidate": score_fields(self.candidate)}
        path.write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "serving": score_of(fields["serving"]), "candidate": score_of(fields["candidate"])})


def perform(
    request: FitRequest,
    strategy: Strategy,
    reward: RewardFunction,
    encoders: Mapping[str, Encoder],
    progress: Callable[[float, str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Fit a candidate, compare it with what serves, and save it in the request's folder.

    Args:
        request: What to do.
        strategy: A fresh one; it takes the state of what serves.
        reward: Turns outcomes into rewards.
        encoders: Registered encoders by name.
        progress: Told how far it is.
        stopped: Asked whether to stop.

    Raises:
        FitError: if the fit failed.
        FitStoppedError: if it was told to stop.
    """
    folder = Path(request.folder)
    agents = AgentSet([Agent.from_fields(fields) for fields in request.agents])
    strategy.load(folder / BASE)
    strategy.prepare(agents)
    progress(0.02, "reading the log")
    tail = LogTail(open_reader(Path(request.store)), reward)
    try:
        data = training_data(
            tail,
            agents,
            request.upto,
            fresh_after=request.fresh_after,
            held_out=request.held_out,
            synthetic=request.synthetic,
        )
        curve: list[dict[str, float]] = []
        for name in (SCRATCH, CHECKPOINTS):
            (folder / name).mkdir(exist_ok=True)
        context = FitContext(
            folder=folder / SCRATCH,
            device=request.device,
            seed=request.seed,
            progress=lambda share, words: progress(0.05 + 0.8 * share, words),
            stopped=stopped,
            checkpoints=folder / CHECKPOINTS,
            note=lambda point: curve.append(dict(point)),
        )
        return _make_version(strategy, data, context, encoders, folder / VERSION, progress, curve)
    finally:
        tail.close()


def _make_version(
    serving: Strategy,
    data: TrainingData,
    context: FitContext,
    encoders: Mapping[str, Encoder],
    folder: Path,
    progress: Callable[[float, str], None],
    curve: list[dict[str, float]],
) -> FitResult:
    """What serves has learnt the held-out examples already, as it learns from every outcome.

    So its memories of them are dropped before it is judged. Afterwards the candidate learns them too.
    """
    started = time.monotonic()
    candidate = serving.fit(data, context)
    candidate.prepare(data.agents)
    progress(0.9, "comparing with what serves")
    serving.forget_examples([example.decision_id for example in data.held_out])
    before = _score(serving, data, encoders)
    after = _score(candidate, data, encoders)
    candidate.learn(sorted(data.held_out, key=attrgetter("seq")))
    progress(0.97, "saving")
    write_artifact(folder, candidate.save)
    return FitResult(
        samples=len(data.examples),
        held_out=len(data.held_out),
        duration_s=time.monotonic() - started,
        serving=before,
        candidate=after,
        curve=curve,
        report=dict(candidate.report()),
    )


def _score(strategy: Strategy, data: TrainingData, encoders: Mapping[str, Encoder]) -> HeldOutScore:
    found = held_out_evaluation(strategy, data.held_out, data.agents, encoders)
    return HeldOutScore(found.value, found.ess, len(data.held_out), found.abstained)
