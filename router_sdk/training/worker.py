"""The work of one fit: on a thread, or in a child process, which is never a fork of the user's program.

The parent runs ``python -P -m router_sdk.training.worker REQUEST``; results cross as files. Below: the work, the
parent's side, and the child's.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import FAULTS, FitError, FitStoppedError, RouterError, TooFewExamplesError
from router_sdk.evaluation.fit_report import FitReport, fit_report
from router_sdk.evaluation.held_out import HeldOut, held_out_evaluation, summarised
from router_sdk.lifetime import no_fork
from router_sdk.loop_settings import TrainingConfig
from router_sdk.plugins import PluginRegistry
from router_sdk.private_files import PRIVATE_FILE, private_folder, write_private
from router_sdk.records import Agent, AgentSet
from router_sdk.records.record import blame
from router_sdk.routing.context import Encoders
from router_sdk.store.artifacts import read_state, write_artifact
from router_sdk.store.connection import open_reader
from router_sdk.store.datasets import dataset_to_json
from router_sdk.store.tail import LogTail
from router_sdk.strategy import FitContext, StrategyServices
from router_sdk.training.datasets import dataset_of
from router_sdk.training.evidence import gather_evidence
from router_sdk.training.fit import (
    BASE,
    CHECKPOINTS,
    DATASET,
    REPORT,
    REQUEST,
    SCRATCH,
    VERSION,
    FitRequest,
    reward_of,
    write_report,
)
from router_sdk.training.registry import twin
from router_sdk.training.selection import selected
from router_sdk.training.thresholds import derived_threshold

if TYPE_CHECKING:
    from router_sdk.rewards import RewardFunction
    from router_sdk.strategy import Encoder, Strategy
    from router_sdk.training.division import Division
    from router_sdk.training.fit import Fit, FitRequest

_MOST_STEPS = 50
"""Of what the fit said while it ran, so many lines stand in its report."""

_log = logging.getLogger(__name__)


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
    connection = open_reader(Path(request.store))
    try:
        work = _Work(request, strategy, connection, encoders, progress, stopped)
        return work.run(LogTail(connection, reward), behind, reward)
    finally:
        connection.close()


class _Work:
    """One fit: candidates are judged beside what serves, and the version is the candidate or is made from everything.

    What serves has learnt what judges, as it learns from every outcome. So a copy of it forgets that before it is
    judged, and afterwards the version learns it, too.
    """

    def __init__(
        self,
        request: FitRequest,
        strategy: Strategy,
        connection: sqlite3.Connection,
        encoders: Mapping[str, Encoder],
        progress: Callable[[float, str], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._request, self._strategy, self._connection, self._encoders = request, strategy, connection, encoders
        self._progress, self._stopped = progress, stopped
        self._folder = Path(request.folder)
        self._agents = AgentSet([Agent.from_fields(fields) for fields in request.agents])
        self._curve: list[dict[str, float]] = []
        self._steps: dict[str, None] = {}

    def run(self, tail: LogTail, behind: Sequence[Strategy], reward: RewardFunction) -> FitReport:
        """Do it."""
        started, request = time.monotonic(), self._request
        self._progress(0.02, "reading the log")
        selection = selected(request, self._connection, self._agents, reward)
        dataset = dataset_of(selection, TrainingConfig(**request.training))
        write_private(self._folder / DATASET, dataset_to_json(dataset))
        rounds = len(selection.divisions) + selection.cross_validated
        version: Strategy | None = None
        before, after = [], []
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
        if selection.cross_validated or version is None:
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
        beside = (judged, self._agents, self._encoders, reward)
        evidence = gather_evidence(request, self._serving(), self._as_it_would_serve(version, rounds), figures, *beside)
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

    def _made(self) -> Strategy:
        """What somebody else made; raises ``CorruptArtifactError`` if it does not load."""
        made = twin(self._strategy)
        read_state(Path(str(self._request.made)), made.load)
        made.prepare(self._agents)
        return made

    def _as_it_would_serve(self, version: Strategy, number: int, division: Division | None = None) -> Strategy:
        """A candidate with the settings of what serves, those of its fit end with it; and new to what judges it."""
        if self._request.made is not None and division is not None:
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
            note=note,
        )


def _pooled(parts: Sequence[HeldOut]) -> HeldOut:
    """The figures over all parts of a cross-validation."""
    answers = [answer for part in parts for answer in part.answers]
    return summarised(answers, sum(part.failed for part in parts))


TOO_FEW = 3
"""Exit status of a worker that had nothing to judge a candidate by."""
_LOOK_S = 0.2
_ERRORS = "errors.txt"


def fit_in_child(folder: Path, device: str, fit: Fit) -> None:
    """Run ``python -P -m router_sdk.training.worker`` and return when it has ended well.

    With ``-P`` it imports nothing from the folder that the program happens to run in.

    Args:
        folder: Where the request lies, and where the child leaves its results and complaints.
        device: See ``FitContext``.
        fit: Told how far it is, and asked whether to stop.

    Raises:
        FitStoppedError: if it was told to stop.
        FitError: if the child failed or was killed.
    """
    errors = open(folder / _ERRORS, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE_FILE))  # noqa: SIM115
    with errors, no_fork():  # a fork in between would inherit the pipes' other ends, and we would wait for its end, too
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "router_sdk.training.worker", str(folder / REQUEST)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(device),
        )
    watch = threading.Thread(target=_kill_when_stopped, args=(child, fit), name="router-fit-watch", daemon=True)
    watch.start()
    assert child.stdout is not None
    told: dict[str, Any] = {}
    with child.stdout as lines:
        for line in lines:
            told |= _told(line, fit)
    code = child.wait()
    watch.join()
    if fit.stopped():
        raise FitStoppedError("stopped")
    if code == TOO_FEW:
        raise TooFewExamplesError(told.get("error", "insufficient"))
    if code != 0:
        ended = f"the worker ended with {code}"
        raise FitError(told.get("error") or f"{ended}: {_last_line(folder / _ERRORS)}", told.get("logged") or ended)


def _told(line: bytes, fit: Fit) -> dict[str, str]:
    """Pass on what the child said; reasons for failing are returned. Libraries may print there, too."""
    try:
        message: dict[str, Any] = json.loads(line)
        if "progress" in message:
            fit.progress(*message["progress"])
        return {name: str(message[name]) for name in ("error", "logged") if name in message}
    except (ValueError, TypeError):
        return {}


def _kill_when_stopped(child: subprocess.Popen[bytes], fit: Fit) -> None:
    while child.poll() is None:
        if fit.stopped():
            child.kill()  # nothing to tidy up: what counts is written whole and renamed
            return
        try:
            child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue


def _environment(device: str) -> dict[str, str]:
    """One thread for the linear algebra on a CPU, so that serving keeps its share."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **({} if device.startswith("cuda") else one),
        **os.environ,
        "TOKENIZERS_PARALLELISM": "false",
        # An empty entry, which a script leaves that adds to a variable that was not set, is the current folder.
        "PYTHONPATH": os.pathsep.join(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))),
    }


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


_NICE = 19


def main(path: Path) -> int:
    """Do what the request says; the exit status is 0 if the result was written."""
    os.umask(0o077)  # whatever a strategy writes on its way is its owner's alone
    if hasattr(os, "nice"):
        os.nice(_NICE)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        work(FitRequest.read(path))
    except TooFewExamplesError as error:
        _tell(error=str(error))
        return TOO_FEW
    except RouterError as error:
        _tell(error=str(error), logged=error.logged if isinstance(error, FitError) else str(error))
        return 1
    except FAULTS as error:
        logging.getLogger(__name__).exception("the fit failed")
        _tell(error=f"{type(error).__name__}: {error}", logged=blame(error))
        return 1
    return 0


def work(request: FitRequest) -> None:
    """Fit, compare, save.

    Raises:
        RouterError: if anything is wrong with the request or the fit.
    """
    plugins = PluginRegistry.load(())
    encoders = Encoders(plugins.encoders, request.encoders)
    chosen = plugins.strategy(request.strategy)
    services = StrategyServices(folder=Path(request.caches), encoders=encoders, seed=request.seed)
    strategy = chosen(chosen.Config(**request.settings), services)
    report = perform(
        request,
        strategy,
        reward_of(request.reward, plugins),
        encoders,
        lambda share, words: _tell(progress=[share, words]),
        list(_behind(request, plugins, encoders)),
    )
    write_report(report, Path(request.folder) / REPORT)


def _behind(request: FitRequest, plugins: PluginRegistry, encoders: Encoders) -> Iterator[Strategy]:
    """Those behind the strategy that can be made here, too."""
    for name, settings, caches in request.behind:
        try:
            chosen = plugins.strategy(name)
            services = StrategyServices(folder=Path(caches), encoders=encoders, seed=request.seed)
            yield chosen(chosen.Config(**settings), services)
        except (RouterError, ValueError) as error:
            _log.warning("%s is not compared with: %s", name, blame(error))


def _tell(**message: object) -> None:
    """One line of JSON for the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_parent(parent: int) -> None:
    """A fit whose router is gone is of no use to anybody; its checkpoints are."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
