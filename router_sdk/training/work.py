"""One fit, wherever it runs: in a child process or on a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from router_sdk.evaluation.fit_report import FitReport, fit_report
from router_sdk.evaluation.held_out import held_out_evaluation
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

_MOST_STEPS = 50
"""Of what the fit said while it ran, so many lines stand in its report."""


def perform(
    request: FitRequest,
    strategy: Strategy,
    reward: RewardFunction,
    encoders: Mapping[str, Encoder],
    progress: Callable[[float, str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> FitReport:
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
        steps: dict[str, None] = {}

        def told(share: float, words: str) -> None:
            steps.setdefault(words)
            progress(0.05 + 0.8 * share, words)

        for name in (SCRATCH, CHECKPOINTS):
            (folder / name).mkdir(exist_ok=True)
        context = FitContext(
            folder=folder / SCRATCH,
            device=request.device,
            seed=request.seed,
            progress=told,
            stopped=stopped,
            checkpoints=folder / CHECKPOINTS,
            note=lambda point: curve.append(dict(point)),
        )
        return _make_version(strategy, data, context, encoders, folder / VERSION, progress, curve, steps)
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
    steps: Collection[str],
) -> FitReport:
    """What serves has learnt the held-out examples already, as it learns from every outcome.

    So its memories of them are dropped before it is judged. Afterwards the candidate learns them too.
    """
    started = time.monotonic()
    candidate = serving.fit(data, context)
    candidate.prepare(data.agents)
    progress(0.9, "comparing with what serves")
    serving.forget_examples([example.decision_id for example in data.held_out])
    before = held_out_evaluation(serving, data.held_out, data.agents, encoders)
    after = held_out_evaluation(candidate, data.held_out, data.agents, encoders)
    candidate.learn(sorted(data.held_out, key=attrgetter("seq")))
    progress(0.97, "saving")
    write_artifact(folder, candidate.save)
    return fit_report(
        candidate.name,
        data,
        before,
        after,
        duration_s=time.monotonic() - started,
        curve=curve,
        settings={
            **candidate.config.model_dump(mode="json", exclude_unset=True),
            **candidate.report(),
            "steps": list(steps)[:_MOST_STEPS],
        },
    )
