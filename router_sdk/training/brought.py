"""Candidates that somebody else made: by a callable of the user's, or another router, whose version was exported.

They are judged by what judges a fit. What they are is checked first, and a copy of it is what is judged and registered.
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from router_sdk.errors import (
    FAULTS,
    CorruptArtifactError,
    FitError,
    FitStoppedError,
    InvalidInputError,
    TooFewExamplesError,
)
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, export_examples
from router_sdk.exchange.history import History
from router_sdk.private_files import make_private, private_folder, read_object
from router_sdk.records import Agent, AgentSet
from router_sdk.spelling import counted
from router_sdk.store.artifacts import MANIFEST, check_artifact, files_in, plain_name
from router_sdk.store.engines import reading
from router_sdk.training.selection import selected

if TYPE_CHECKING:
    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.training.fit import Fit, FitRequest, FitServices

TrainFunction = Callable[[str], Mapping[str, Any]]
"""Takes the path of a data file; returns ``{"model_path": folder, "metrics": {...}}``."""

BESIDE = ("version.json", "report.json")
"""What an exported folder holds beside the state and the manifest."""

_LOOK_S = 0.1
_EXPECTED = 'expected {"model_path": a folder with a state that the strategy can load, "metrics": {...}}'

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class External:
    """Trains by a callable.

    Attributes:
        train: Takes a data file's path, and returns where the state lies that it made of it.
        form: In which format.
        options: What of the data goes into the file.
    """

    train: TrainFunction
    form: ExportFormat
    options: ExportOptions
    kind: ClassVar[str] = "external"
    upto: ClassVar[int | None] = None
    learns: ClassVar[bool] = True

    def bring(self, request: FitRequest, folder: Path, services: FitServices, fit: Fit) -> tuple[Path, dict[str, Any]]:
        """Hand over what a fit would be trained on, and take what came of it.

        Args:
            request: What a fit would be told.
            folder: A private one, for the data file and the state.
            services: The log, and the reward.
            fit: Told how far it is, and asked whether to stop.

        Returns:
            The folder of a copy of the state, and the metrics.

        Raises:
            TooFewExamplesError: if there is nothing to hand over.
            FitError: if the callable raised, or returned something else than it should.
            FitStoppedError: if it was told to stop; the callable is let go, and what it returns is thrown away.
        """
        fit.progress(0.05, "writing the data file")
        handed = private_folder(folder / "handed")
        try:
            data = handed / f"data.{'csv' if self.form == 'csv' else 'jsonl'}"
            written = self._write(data, request, services)
            fit.progress(0.1, f"training on {counted(written, 'example')} by the function that was given")
            path, metrics = _result(_called(self.train, str(data), fit))
            _copy(path, folder / "made")
        finally:
            shutil.rmtree(handed, ignore_errors=True)
        return folder / "made", {"external": metrics}

    def judged(self, report: FitReport) -> FitReport:
        """What is known of the version."""
        return report

    def _write(self, data: Path, request: FitRequest, services: FitServices) -> int:
        agents = AgentSet([Agent.from_fields(fields) for fields in request.agents])
        with reading(request.store) as connection:  # it may take seconds: others read meanwhile
            chosen = selected(request, connection, agents, services.reward)
            places = [one.decision_seq for one in chosen.whole.examples]
        history = History(services.store, services.reward, places, request.upto)
        written = export_examples(history, data, self.form, self.options)
        if not written:
            raise TooFewExamplesError(
                f"insufficient: of {counted(len(places), 'example')} none goes into a file of the format {self.form}"
                + ("" if self.form in ("jsonl", "csv") else ", which pairs texts with responses")
            )
        return written


def _called(train: TrainFunction, path: str, fit: Fit) -> object:
    """What a callable returns, on a thread of its own: whoever must stop it lets it go."""
    ended: list[tuple[bool, Any]] = []

    def call() -> None:
        try:
            ended.append((True, train(path)))
        except FAULTS as error:
            ended.append((False, error))

    thread = threading.Thread(target=call, name="router-train-fn", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
        if fit.stopped():
            raise FitStoppedError("stopped; what the function that was given still does comes to nothing")
    well, found = ended[0] if ended else (False, SystemExit())
    if well:
        return found
    kind = type(found).__name__
    _log.error("the function that was given to train raised %s", kind, exc_info=found)
    raise FitError(f"train_fn raised {kind}: {found}", f"train_fn raised {kind}") from found


def _result(returned: object) -> tuple[Path, dict[str, Any]]:
    """What a callable returned, checked.

    Raises:
        FitError: if it is something else than it should be.
    """
    if not isinstance(returned, Mapping) or not isinstance(returned.get("model_path"), str | Path):
        raise FitError(f"train_fn returned {returned!r:.100}; {_EXPECTED}", f"train_fn returned nonsense; {_EXPECTED}")
    metrics = returned.get("metrics", {})
    path = Path(returned["model_path"])
    if not isinstance(metrics, Mapping) or not all(map(_is_metric, metrics.items())):
        words = "train_fn: metrics: expected names with texts, finite numbers or None"
        raise FitError(f"{words}, got {metrics!r:.100}", words)
    if not path.is_dir():
        raise FitError(f"train_fn: model_path: {str(path)!r:.200} is no folder; {_EXPECTED}", "model_path is no folder")
    return path, dict(metrics)


def _is_metric(pair: tuple[object, object]) -> bool:
    name, value = pair
    known = value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(name, str) and known


@dataclass(frozen=True, slots=True)
class Exported:
    """A version that a router exported, see ``router.models.export_to``.

    Attributes:
        source: The folder.
        strategy: Whose version it was.
        version: Its number there.
        samples: Examples that it was trained on.
        data_hash: Equal for equal examples and settings.
        upto: Position in this log up to which it has learnt: 0 where it comes from another log.
    """

    source: Path
    strategy: str
    version: int
    samples: int
    data_hash: str
    upto: int | None
    kind: ClassVar[str] = "import"
    learns: ClassVar[bool] = False

    @classmethod
    def read(cls, source: Path, log: str) -> Exported:
        """Look at a folder.

        Args:
            source: The folder.
            log: What names this log, see ``Registry.log``.

        Raises:
            InvalidInputError: if it is no folder.
            CorruptArtifactError: if a file is missing, added or changed, or it is no version.
        """
        if not source.is_dir():
            raise InvalidInputError(f"{str(source)!r:.300} is no folder; give one that router.models.export_to wrote")
        check_artifact(source)
        try:
            told = read_object(source / BESIDE[0])
            version, samples, upto = (int(told[name]) for name in ("version", "samples", "upto"))
            strategy, data_hash = plain_name(told["strategy"]), str(told["data_hash"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                f"{source.name}: {BESIDE[0]} says of no version what it is ({type(error).__name__}); export it again"
            ) from error
        return cls(source, strategy, version, samples, data_hash, upto if told.get("log") == log else 0)

    def bring(self, request: FitRequest, folder: Path, services: FitServices, fit: Fit) -> tuple[Path, dict[str, Any]]:
        """Copy the state, and compare it with its checksums once more.

        Raises:
            CorruptArtifactError: if a file is missing, added or changed.
        """
        fit.progress(0.05, "copying the version")
        _copy(self.source, folder / "made")
        check_artifact(folder / "made")
        for name in (MANIFEST, *BESIDE):
            (folder / "made" / name).unlink(missing_ok=True)
        return folder / "made", {"import": {"strategy": self.strategy, "version": self.version}}

    def judged(self, report: FitReport) -> FitReport:
        """What is known of the version, which was trained on other examples than those that are here."""
        return replace(report, examples=self.samples, data_hash=self.data_hash)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder for its owner alone; no symbolic link is followed.

    Raises:
        CorruptArtifactError: if there is one.
        FitError: if it cannot be read, or there is nothing.
    """
    try:
        if not files_in(source):
            raise FitError(f"{source} is empty; {_EXPECTED}", "the folder is empty")
        shutil.copytree(source, private_folder(target), dirs_exist_ok=True)
        for path in target.rglob("*"):
            make_private(path)
    except OSError as error:
        raise FitError(f"{source} cannot be copied: {error}", f"it cannot be copied: {type(error).__name__}") from error


Brought = External | Exported
