"""The work of one fit: candidates are made and judged beside what serves, and the version is saved with a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.engine import Connection
from router_sdk.evaluation.fit_report import FitReport, fit_report
from router_sdk.evaluation.held_out import HeldOut, held_out_evaluation, summarised
from router_sdk.evaluation.paired import gain_of
from router_sdk.loop_settings import TrainingConfig
from router_sdk.private_files import private_folder, write_private
from router_sdk.records import Agent, AgentSet, TrainingData
from router_sdk.store.artifacts import read_state, write_artifact
from router_sdk.store.datasets import dataset_to_json
from router_sdk.store.engines import reading
from router_sdk.store.tail import LogTail
from router_sdk.strategy import FitContext
from router_sdk.training.datasets import dataset_of
from router_sdk.training.evidence import gather_evidence
from router_sdk.training.fit import BASE, CHECKPOINTS, DATASET, SCRATCH, VERSION, FitRequest
from router_sdk.training.registry import twin
from router_sdk.training.selection import selected
from router_sdk.training.thresholds import derived_threshold

if TYPE_CHECKING:
    from router_sdk.rewards import RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.training.division import Division

_MOST_STEPS = 50
"""Of what the fit said while it ran, so many lines stand in its report."""


def perform(
    request: FitRequest,
    strategy: Strategy,
    reward: RewardFunction,
    encoders: Mapping[str, Encoder],
    progress: Callable[[float, str], None],
    behind: Sequence[Strategy] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> FitReport:
    """Fit a candidate, compare it with what serves, and save it in the request's folder.

    Args:
        request: What to do.
        strategy: A fresh one, of which more are made; they take the state of what serves.
        reward: Turns outcomes into rewards.
        encoders: Registered encoders by name.
        progress: Told how far it is.
        behind: Fresh ones of those who are asked after it.
        stopped: Asked whether to stop.

    Raises:
        TooFewExamplesError: if nothing could judge the candidate; nothing was fitted then.
        FitError: if the fit failed.
        FitStoppedError: if it was told to stop.
    """
    with reading(request.store) as connection:
        work = _Work(request, strategy, connection, encoders, progress, stopped, reward)
        return work.run(LogTail(connection, reward, request.left_out), behind)


class _Work:
    """One fit: candidates are judged beside what serves, and the version is the candidate or is made from everything.

    What serves has learnt what judges, as it learns from every outcome. So a copy of it forgets that before it is
    judged, and afterwards the version learns it, too.
    """

    def __init__(
        self,
        request: FitRequest,
        strategy: Strategy,
        connection: Connection,
        encoders: Mapping[str, Encoder],
        progress: Callable[[float, str], None],
        stopped: Callable[[], bool],
        reward: RewardFunction,
    ) -> None:
        self._request, self._strategy, self._connection, self._encoders = request, strategy, connection, encoders
        self._progress, self._stopped, self._reward = progress, stopped, reward
        self._folder = Path(request.folder)
        self._agents = AgentSet([Agent.from_fields(fields) for fields in request.agents])
        self._curve: list[dict[str, float]] = []
        self._steps: dict[str, None] = {}

    def run(self, tail: LogTail, behind: Sequence[Strategy]) -> FitReport:
        """Do it."""
        started, request = time.monotonic(), self._request
        self._progress(0.02, "reading the log")
        selection = selected(request, self._connection, self._agents, self._reward)
        dataset = dataset_of(selection, TrainingConfig(**request.training))
        write_private(self._folder / DATASET, dataset_to_json(dataset))
        rounds = len(selection.divisions) + selection.cross_validated
        version: Strategy | None = None
        before, after, joint = [], [], []
        for number, division in enumerate(selection.divisions):
            serving, version = self._serving(request.overrides), None
            version = (
                serving.fit(division.data, self._context(number, rounds)) if request.made is None else self._made()
            )
            version.prepare(self._agents)
            self._progress(0.05 + 0.85 * (number + 0.9) / rounds, "comparing with what serves")
            serving = self._serving() if request.overrides else serving
            before.append(self._judged(self._without(serving, division), division))
            after.append(self._judged(self._as_it_would_serve(version, number, division), division))
            if request.joint and not request.synthetic and request.made is None:
                at_once = self._fitted_at_once(selection.unshaped[number], number, rounds)
                joint.append(self._judged(at_once, division))
        if version is None or (selection.cross_validated and request.made is None):
            version = self._serving(request.overrides).fit(selection.whole, self._context(rounds - 1, rounds))
            version.prepare(self._agents)
        version.learn(selection.left_over if request.learns else ())
        self._progress(0.97, "saving")
        write_artifact(self._folder / VERSION, version.save)
        judged = [one for division in selection.divisions for one in division.data.held_out]
        self._progress(0.95, "comparing with the next in the chain")
        own = [answer for part in after for answer in part.answers]
        asked = (tail, request.upto, self._agents, self._encoders, self._stopped)
        threshold = derived_threshold(version.name, own, behind, *asked)
        figures = _pooled(before), _pooled(after)
        beside = (judged, self._agents, self._encoders, self._reward)
        would_serve = self._as_it_would_serve(version, rounds, selection.divisions[-1])
        evidence = gather_evidence(request, self._serving(), would_serve, figures, *beside)
        if joint:
            pairs = list(zip(_pooled(joint).answers, figures[1].answers, strict=True))
            evidence = replace(evidence, joint=gain_of(pairs))
        report = fit_report(
            version.name,
            replace(selection.whole, held_out=judged),
            *figures,
            duration_s=time.monotonic() - started,
            curve=self._curve,
            settings={
                **version.config.model_dump(mode="json", exclude_unset=True),
                **version.report(),
                "steps": list(self._steps)[:_MOST_STEPS],
            },
            fine_tuned=version.fine_tuned,
            data_hash=selection.data_hash,
            folds=len(selection.divisions),
        )
        return replace(report, threshold=None if threshold is None else threshold.to_dict(), evidence=evidence)

    def _fitted_at_once(self, data: TrainingData, number: int, rounds: int) -> Strategy:
        """A strategy that was never fitted, fitted on everything as if all of it were new."""
        fresh = twin(self._strategy, self._request.overrides)
        fresh.prepare(self._agents)
        folder = private_folder(self._folder / SCRATCH / f"at-once-{number}")
        context = replace(self._context(number, rounds), folder=folder, checkpoints=None, note=lambda point: None)
        fitted = fresh.fit(replace(data, fresh_after=0), context)
        fitted.prepare(self._agents)
        return fitted

    def _made(self) -> Strategy:
        """What somebody else made; raises ``CorruptArtifactError`` if it does not load."""
        made = twin(self._strategy)
        read_state(Path(str(self._request.made)), made.load)
        made.prepare(self._agents)
        return made

    def _as_it_would_serve(self, version: Strategy, number: int, division: Division) -> Strategy:
        """A candidate with the settings of what serves, those of its fit end with it; and new to what judges it."""
        if self._request.made is not None:
            return self._without(self._made(), division)
        if not self._request.overrides:
            return version
        folder = private_folder(self._folder / SCRATCH / f"judged-{number}")
        version.save(folder)
        served = twin(self._strategy)
        served.load(folder)
        served.prepare(self._agents)
        return served

    def _serving(self, settings: Mapping[str, Any] | None = None) -> Strategy:
        """A copy of what serves, with some settings overridden."""
        copy = twin(self._strategy, settings)
        copy.load(self._folder / BASE)
        copy.prepare(self._agents)
        return copy

    def _without(self, serving: Strategy, division: Division) -> Strategy:
        """What serves, without what judges: of this log, and of pre-trainings with the same texts."""
        query = "SELECT decision_id FROM pretraining WHERE context_hash IN (SELECT value FROM json_each(?))"
        taught = [row[0] for row in self._connection.execute(query, (json.dumps(list(division.texts)),))]
        serving.forget_examples([*division.unlearn, *taught])
        return serving

    def _judged(self, strategy: Strategy, division: Division) -> HeldOut:
        return held_out_evaluation(strategy, division.data.held_out, self._agents, self._encoders)

    def _context(self, number: int, rounds: int) -> FitContext:
        """What one of several fits may use: folders of its own, and its share of the progress."""

        def told(share: float, words: str) -> None:
            self._steps.setdefault(words)
            self._progress(0.05 + 0.85 * (number + 0.9 * share) / rounds, words)

        def note(point: Mapping[str, float]) -> None:
            if number == rounds - 1:  # the one that serves
                self._curve.append(dict(point))

        own = "" if rounds == 1 else f"part-{number}"
        folders = [self._folder / name / own for name in (SCRATCH, CHECKPOINTS)]
        for folder in folders:
            private_folder(folder)
        return FitContext(
            folder=folders[0],
            device=self._request.device,
            seed=self._request.seed,
            progress=told,
            stopped=self._stopped,
            checkpoints=folders[1],
            start=None if self._request.start is None else Path(self._request.start),
            note=note,
        )


def _pooled(parts: Sequence[HeldOut]) -> HeldOut:
    """The figures over all parts of a cross-validation."""
    answers = [answer for part in parts for answer in part.answers]
    return summarised(answers, sum(part.failed for part in parts))
