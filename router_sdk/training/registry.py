"""Fitted versions on disk: registered, found, checked, loaded, and given up when nothing needs them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_sdk.errors import (
    CorruptArtifactError,
    GateRefusedError,
    InvalidInputError,
    StoreUnavailableError,
    UnknownVersionError,
)
from router_sdk.numerics.distribution_shift import trend
from router_sdk.private_files import write_private
from router_sdk.routing.chain import Stage
from router_sdk.store.artifacts import MANIFEST, check_artifact, entry, read_state, set_aside, write_artifact
from router_sdk.store.datasets import read_dataset
from router_sdk.store.events import fit_events
from router_sdk.store.folders import Folders
from router_sdk.store.identity import new_id
from router_sdk.store.registry import (
    Champion,
    add_version,
    before,
    challenger,
    champion,
    champions,
    move_version,
    prune_versions,
    quarantined,
    versions,
)
from router_sdk.training.fit import read_report, write_report

if TYPE_CHECKING:
    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.gate import GateReport
    from router_sdk.records import ModelVersion
    from router_sdk.routing.pooling import Tenants
    from router_sdk.store import Store
    from router_sdk.store.datasets import DatasetRow
    from router_sdk.strategy import Strategy

_log = logging.getLogger(__name__)

NORMS = 12
"""Newest versions of which it is told how long their parameters are."""


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


def stage_of(
    strategy: Strategy, version: ModelVersion | None, tenants: Tenants | None = None, name: str | None = None
) -> Stage:
    """A strategy's place in the chain, with the threshold that its version's fit derived."""
    if version is None:
        return Stage(strategy, None, tenants, name=name)
    threshold = version.metrics.get("threshold") or {}
    return Stage(strategy, version.version, tenants, threshold.get("value"), name)


class Registry:
    """The versions of all strategies on one store.

    Args:
        store: The log, and the folder beside it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folders = Folders(store.folder, "versions", store.engine.shelf())
        self._reports = Folders(store.folder, "reports", store.engine.shelf())

    def strategies(self) -> list[str]:
        """Names of the strategies that have versions with files."""
        query = "SELECT DISTINCT strategy FROM model_versions WHERE pruned_at IS NULL ORDER BY strategy"
        return self._store.reader.query(lambda connection: [name for (name,) in connection.execute(query)])

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

    def champion(self, strategy: str) -> Champion:
        """What serves, by the log."""
        return self._store.reader.query(lambda connection: champion(connection, strategy))

    def challenger(self, strategy: str) -> int | None:
        """The version that challenges what serves; None where none does."""
        return self._store.reader.query(lambda connection: challenger(connection, strategy))

    def fits(self, strategy: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Attempts to fit, newest first, see ``Router.models.fits``."""
        return self._store.reader.query(lambda connection: fit_events(connection, strategy, after, limit))

    def norms(self, strategy: str) -> dict[str, Any]:
        """How long the parameters of the newest versions are that passed the gate, and whether that goes anywhere.

        It has ``norms`` by version, oldest first, and their ``trend``, see ``numerics.distribution_shift``.
        """
        known = [one for one in self.versions(strategy) if one.passed and one.metrics.get("norm") is not None]
        norms = {one.version: one.metrics["norm"] for one in known[-NORMS:]}
        return {"norms": norms, "trend": trend(list(norms.values()))}

    def baseline(self, strategy: str) -> dict[str, Any] | None:
        """What the newest version that began with a warm start was measured to be; None without one."""
        newest = next((one for one in reversed(self.versions(strategy)) if "warm_start" in one.metrics), None)
        if newest is None:
            return None
        told = {"version": newest.version, "at": newest.at, "warm_start": newest.metrics["warm_start"]}
        return {**told, **newest.metrics["after"]}

    def history(self, strategy: str) -> list[Champion]:
        """What served, newest first."""
        return self._store.reader.query(lambda connection: champions(connection, strategy))

    def previous(self, strategy: str, number: int | None) -> int | None:
        """What served when a version first came, and is in no quarantine; None stands for what was never fitted.

        Raises:
            UnknownVersionError: if it never served.
        """
        history = self.history(strategy)
        if number is None or number not in {entry.version for entry in history}:
            raise UnknownVersionError(f"no fitted version of {strategy!r} serves: there is nothing to go back from")
        suspects = self._store.reader.query(lambda connection: quarantined(connection, strategy))
        number = before(history, number)
        while number in suspects:
            number = before(history, number)
        return number

    def served(self, strategy: str, number: int) -> int | None:
        """A version that may serve again because it did before; None, told as 0, stands for what was never fitted.

        Raises:
            UnknownVersionError: if it never served.
            GateRefusedError: if it is in quarantine.
            InvalidInputError: if it serves now.
        """
        wanted, history = number or None, self.history(strategy)
        what = f"{strategy!r} without any fit" if wanted is None else f"version {wanted} of {strategy!r}"
        served = sorted({entry.version for entry in history if entry.version is not None})
        if wanted is not None and wanted not in served:
            raise UnknownVersionError(f"{what} never served, as {served} did; router promote lets it")
        if wanted == (history[0].version if history else None):
            raise InvalidInputError(f"{what} serves now: there is nothing to go back to")
        if wanted in self._store.reader.query(lambda connection: quarantined(connection, strategy)):
            raise GateRefusedError(
                f"{what} is in quarantine, see router versions; router promote --force (in Python force=True) lets it "
                "serve anyway"
            )
        return wanted

    def new_folder(self, strategy: str) -> Path:
        """Where a version to be made shall stand."""
        return entry(self._folders.root, f"{strategy}-{new_id()}")

    def add(
        self,
        strategy: str,
        folder: Path,
        report: FitReport,
        verdict: GateReport,
        *,
        kind: str,
        parent: int | None,
        upto: int,
        settings: Mapping[str, Any],
        metrics: Mapping[str, Any],
        unless_forgotten_after: int,
        promote_after: int | None,
        challenges: bool,
        dataset: DatasetRow | None,
    ) -> tuple[ModelVersion, int | None] | None:
        """Register what a fit left in ``folder``, with its report, see ``add_version``."""
        self._folders.share(folder)
        added = add_version(
            self._store.writer,
            strategy,
            kind=kind,
            parent=parent,
            upto=upto,
            samples=report.examples,
            passed=verdict.passed,
            reason=verdict.reason,
            folder=folder.name,
            settings=settings,
            metrics={**metrics, "gate": verdict.to_dict()},
            fine_tuned=report.fine_tuned,
            data_hash=report.data_hash,
            unless_forgotten_after=unless_forgotten_after,
            promote_after=promote_after if verdict.passed else None,
            challenges=challenges and verdict.passed,
            dataset=dataset,
        )
        if added is not None:
            version, _ = added
            path = self._report_path(version)
            write_report(report.judged(verdict.passed, verdict.results, version.version), path)
            self._reports.share(path)
        return added

    def report(self, version: ModelVersion) -> FitReport:
        """What the fit measured.

        Raises:
            CorruptArtifactError: if it is lost.
        """
        return read_report(self._reports.path(self._report_path(version).name))

    def dataset(self, version: ModelVersion) -> DatasetRow:
        """What a version was trained on.

        Raises:
            UnknownVersionError: if that was not noted.
            CorruptArtifactError: if what was noted cannot be read.
        """
        told = (version.strategy, version.version)
        row = self._store.reader.query(lambda connection: read_dataset(connection, *told))
        if row is None:
            raise UnknownVersionError(
                f"what version {version.version} of {version.strategy!r} was trained on was not noted: it was "
                "imported, or made by an earlier release"
            )
        return row

    @property
    def log(self) -> str:
        """Names this log: another one for each store, and for one that was restored."""
        query = "SELECT value FROM meta WHERE name IN ('store_id', 'epoch') ORDER BY name"
        rows = self._store.reader.query(lambda connection: connection.execute(query).fetchall())
        return "-".join(value for (value,) in rows)

    def export(self, version: ModelVersion, target: Path) -> Path:
        """Copy a version's files, what the log says of it, and its report to a folder that is not there, or empty.

        Raises:
            UnknownVersionError: if its files were given up.
            CorruptArtifactError: if a file is missing or does not match its checksum.
            InvalidInputError: if the target is something else.
        """
        folder = self._files(version)
        check_artifact(folder)
        try:
            target = target.expanduser().resolve()
            taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
            at_home = target.parent.is_dir()
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidInputError(f"cannot write to {str(target)!r:.300}: {error}") from error
        if self._store.folder.resolve() in (target, *target.parents):
            raise InvalidInputError(f"{target} belongs to the store, which tidies it; give another place")
        if taken:
            raise InvalidInputError(f"{target} is no folder, or not empty; an export needs one of its own")
        if not at_home:
            raise InvalidInputError(f"cannot write to {target}: its folder does not exist")
        try:
            write_artifact(target, partial(self._copy, version, folder))
        except StoreUnavailableError as error:
            raise InvalidInputError(f"cannot write to {str(target)!r:.300}: {error}") from error
        return target

    def _copy(self, version: ModelVersion, folder: Path, draft: Path) -> None:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        (draft / MANIFEST).unlink()  # it gets one of its own, of all that is there
        write_private(draft / "version.json", json.dumps({**version.to_dict(), "log": self.log}))
        with suppress(CorruptArtifactError):  # a lost report keeps no version here
            write_report(self.report(version), draft / "report.json")

    def _report_path(self, version: ModelVersion) -> Path:
        return entry(self._reports.root, f"{version.strategy}-{version.version}.json")

    def load(self, strategy: Strategy, version: ModelVersion) -> None:
        """Read a version's state into a fresh strategy.

        Raises:
            UnknownVersionError: if its files were given up.
            CorruptArtifactError: if a file is missing or does not match its checksum.
        """
        folder = self._files(version)
        try:
            self._read(strategy, folder)
        except CorruptArtifactError:
            if not self._store.read_only:
                set_aside(folder, self._store.folder)
            raise

    def _files(self, version: ModelVersion) -> Path:
        """The folder of a version.

        Raises:
            UnknownVersionError: if its files were given up.
        """
        if version.pruned_at is not None:
            raise UnknownVersionError(
                f"the files of version {version.version} of {version.strategy!r} were given up on "
                f"{datetime.fromtimestamp(version.pruned_at):%d %b %Y}; keep_versions says how many are kept"
            )
        return self._folders.path(version.folder)

    @staticmethod
    def _read(strategy: Strategy, folder: Path) -> None:
        check_artifact(folder)
        read_state(folder, strategy.load)

    def open(self, strategy: Strategy) -> tuple[Strategy, ModelVersion | None]:
        """Load the version that serves; where it is damaged, the newest of those that served before and is not.

        Returns:
            The strategy, and its version; the strategy as it came, and None, where nothing was fitted or all is lost.
        """
        name = strategy.name
        known = {version.version: version for version in self.versions(name)}
        for one in self.history(name):
            if one.version is None:
                break
            try:
                self.load(strategy, known[one.version])
            except (CorruptArtifactError, UnknownVersionError, KeyError) as error:
                _log.error("version %d of %s is not loaded: %s", one.version, name, error)
                strategy.close()
                strategy = twin(strategy)
            else:
                return strategy, known[one.version]
        return strategy, None

    def forget(self, strategy: Strategy, decision_ids: Collection[str]) -> None:
        """Write a strategy's versions anew without their memories of these decisions.

        A version that cannot be read any more is deleted: nobody could say what it remembers.
        """
        for version in self.versions(strategy.name):
            if version.pruned_at is not None:
                continue
            try:
                folder = self.forgetting(strategy, self._folders.path(version.folder), decision_ids)
            except CorruptArtifactError as error:
                _log.warning("version %d of %s is damaged, and deleted: %s", version.version, strategy.name, error)
            else:
                move_version(self._store.writer, version, folder.name)
            self._folders.remove(version.folder)

    def forgetting(self, strategy: Strategy, folder: Path, decision_ids: Collection[str]) -> Path:
        """A new folder with the state that stands in another one, without its memories of these decisions.

        Raises:
            CorruptArtifactError: if the state cannot be read.
        """
        fresh = twin(strategy)
        try:
            self._read(fresh, folder)
            fresh.forget_examples(decision_ids)
            new = self.new_folder(strategy.name)
            return self._folders.write(new.name, fresh.save)
        finally:
            fresh.close()

    def prune(self, strategy: str, keep: int, keep_s: float | None) -> int:
        """Give up old versions that nothing needs, see ``prune_versions``; how many."""
        gone = prune_versions(self._store.writer, strategy, keep, keep_s)
        for name in gone:
            self._folders.remove(name)
        return len(gone)

    def tidy(self, **age: float) -> list[str]:
        """Delete what killed fits left, and parts that nobody serves from; see ``Snapshots.tidy``."""
        query = "SELECT folder FROM model_versions WHERE pruned_at IS NULL"
        known = self._store.reader.query(lambda connection: {name for (name,) in connection.execute(query)})
        left = self._folders.tidy(known, **age)
        self._store.parts.sweep()
        return left
