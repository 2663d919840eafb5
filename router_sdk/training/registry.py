"""Fitted versions on disk: registered, found, checked, loaded."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from router_sdk.errors import CorruptArtifactError, UnknownVersionError
from router_sdk.store.artifacts import check_artifact, write_artifact
from router_sdk.store.identity import new_id
from router_sdk.store.versions import add_version, champions, move_version, set_champion, versions
from router_sdk.training.reports import read_report, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.gate import GateReport
    from router_sdk.records import ModelVersion
    from router_sdk.store import Store
    from router_sdk.strategy import Strategy

_log = logging.getLogger(__name__)


def twin(strategy: Strategy, settings: Mapping[str, Any] | None = None) -> Strategy:
    """A new strategy like this one, without what it learnt.

    Args:
        strategy: Which.
        settings: Fields of its configuration to override; they are validated by whoever passed them.
    """
    config = strategy.config
    if settings:
        config = type(config)(**{**config.model_dump(exclude_unset=True), **settings})
    return type(strategy)(config, strategy.services)


class Registry:
    """The versions of all strategies on one store.

    Args:
        store: The log, and the folder beside it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def versions(self, strategy: str) -> list[ModelVersion]:
        """A strategy's versions, oldest first."""
        return self._store.reader.query(lambda connection: versions(connection, strategy))

    def version(self, strategy: str, number: int) -> ModelVersion:
        """One version.

        Raises:
            UnknownVersionError: if there is none of that number.
        """
        known = {version.version: version for version in self.versions(strategy)}
        if number not in known:
            raise UnknownVersionError(f"strategy {strategy!r} has no version {number}; there are {sorted(known)}")
        return known[number]

    def champions(self, strategy: str) -> list[int | None]:
        """What served, newest first; None stands for what was never fitted."""
        return self._store.reader.query(lambda connection: champions(connection, strategy))

    def crown(self, strategy: str, number: int | None, reason: str) -> None:
        """Note that a version serves from now on."""
        set_champion(self._store.writer, strategy, number, reason)

    def new_folder(self, strategy: str) -> Path:
        """Where a version to be made shall stand."""
        return self._store.folder / "versions" / f"{strategy}-{new_id()}"

    def add(
        self,
        strategy: str,
        folder: Path,
        *,
        kind: str,
        parent: int | None,
        upto: int,
        samples: int,
        verdict: GateReport,
        settings: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> ModelVersion:
        """Register what a fit left in ``folder``."""
        return add_version(
            self._store.writer,
            strategy,
            kind=kind,
            parent=parent,
            upto=upto,
            samples=samples,
            passed=verdict.passed,
            reason=verdict.reason,
            folder=folder.name,
            settings=settings,
            metrics={**metrics, "gate": verdict.to_dict()},
        )

    def keep(self, version: ModelVersion, report: FitReport) -> None:
        """Keep what the fit measured."""
        write_report(report, self._report_path(version))

    def report(self, version: ModelVersion) -> FitReport:
        """What the fit measured.

        Raises:
            CorruptArtifactError: if it is lost.
        """
        return read_report(self._report_path(version))

    def _report_path(self, version: ModelVersion) -> Path:
        return self._store.folder / "reports" / f"{version.strategy}-{version.version}.json"

    def load(self, strategy: Strategy, version: ModelVersion) -> None:
        """Read a version's state into a fresh strategy.

        Raises:
            CorruptArtifactError: if a file is missing or does not match its checksum.
        """
        folder = self._store.folder / "versions" / version.folder
        check_artifact(folder)
        try:
            strategy.load(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(f"{folder.name}: cannot be loaded: {error}") from error

    def open(self, strategy: Strategy) -> tuple[Strategy, ModelVersion | None]:
        """Load the version that serves; where it is damaged, the newest that is not.

        Returns:
            The strategy, and its version; the strategy as it came, and None, where nothing was fitted or all is lost.
        """
        known = {version.version: version for version in self.versions(strategy.name)}
        for number in self.champions(strategy.name):
            if number is None:
                break
            try:
                self.load(strategy, known[number])
            except CorruptArtifactError as error:
                _log.error("version %d of %s is not loaded: %s", number, strategy.name, error)
                strategy = twin(strategy)
            else:
                return strategy, known[number]
        return strategy, None

    def forget(self, strategy: Strategy, decision_ids: Collection[str]) -> None:
        """Write a strategy's versions anew without their memories of these decisions."""
        for version in self.versions(strategy.name):
            fresh = twin(strategy)
            old = self._store.folder / "versions" / version.folder
            try:
                self.load(fresh, version)
            except CorruptArtifactError as error:
                _log.warning("version %d of %s is damaged, and deleted: %s", version.version, strategy.name, error)
            else:
                fresh.forget_examples(decision_ids)
                folder = self.new_folder(strategy.name)
                write_artifact(folder, fresh.save)
                move_version(self._store.writer, version, folder.name)
            shutil.rmtree(old, ignore_errors=True)
