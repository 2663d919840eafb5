"""Data sets: what each version was trained on, noted by its fit, to be listed and exported again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from router_sdk.errors import InvalidInputError, UnknownVersionError
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings, export_examples
from router_sdk.exchange.history import History
from router_sdk.replay import category_of
from router_sdk.store.artifacts import sha256
from router_sdk.store.datasets import DatasetRow, presence
from router_sdk.training.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_sdk.loop_settings import TrainingConfig
    from router_sdk.records import ModelVersion
    from router_sdk.rewards import RewardFunction
    from router_sdk.store import Store
    from router_sdk.training.selection import Selection


def dataset_of(selection: Selection, told: TrainingConfig) -> DatasetRow:
    """What a version that is made from a selection was trained on."""
    data = selection.whole
    logged = [one for one in data.examples if one.decision_seq > 0]
    made = sum(one.source == SYNTHETIC for one in data.examples)
    taught = Counter(category_of(one) for one in data.examples)
    nobody = taught.pop(None, 0)
    counts: dict[str, Any] = {
        "examples": len(logged),
        "held_out": len(data.held_out),
        "fresh": sum(one.seq > data.fresh_after for one in logged),
        "replayed": sum(one.seq <= data.fresh_after for one in logged),
        "existing": len(data.examples) - len(logged) - made,
        "synthetic": made,
        "left_out": selection.left_out,
        "folds": len(selection.divisions),
        "agents": {str(name): count for name, count in taught.most_common()},
        "no_agent_fits": nobody,
    }
    settings = told.model_dump(mode="json", exclude_defaults=True)
    if told.existing is not None and counts["existing"]:
        settings["existing_sha256"] = sha256(told.existing)
    learnt, judged = ([] if data.synthetic else [one.decision_seq for one in side] for side in (logged, data.held_out))
    return DatasetRow(data.upto, selection.data_hash, counts, settings, learnt, judged)


class Dataset:
    """What one version was trained on.

    Made-up examples of a pre-training, and those of a file beside the log, stand in no log: they are counted, and not
    listed. What was forgotten since is not there any more.

    Args:
        version: Which version.
        row: What was noted of it.
        store: The log.
        reward: Turns outcomes into rewards.

    Attributes:
        strategy: Whose version.
        version: Its number.
        at: When it was registered, in seconds since the epoch.
        upto: Position up to which the log was read: examples are as they were known then.
        data_hash: Equal for equal examples and settings.
        counts: ``examples`` of the log, ``held_out``, ``fresh`` and ``replayed`` ones, those of the ``existing`` file,
            ``synthetic`` ones that were made up around errors, ``left_out`` ones, in how many ``folds`` they judged,
            how many for each of ``agents``, and ``no_agent_fits``.
        settings: What of ``TrainingConfig`` was set, as JSON values.
    """

    def __init__(self, version: ModelVersion, row: DatasetRow, store: Store, reward: RewardFunction) -> None:
        self.strategy, self.version = version.strategy, version.version
        self.at, self.upto, self.data_hash = row.at, row.upto, row.data_hash
        self.counts, self.settings = dict(row.counts), dict(row.settings)
        self._row, self._store = row, store
        self._history = History(store, reward)

    @property
    def examples(self) -> History:
        """What it was trained on, oldest first, read as it is asked for.

        Raises:
            UnknownVersionError: if that was given up with the version's files.
        """
        return self._history.only(self._positions(self._row.examples), self.upto)

    @property
    def held_out(self) -> History:
        """What judged it and was kept apart; nothing where examples judged in turn.

        Raises:
            UnknownVersionError: if that was given up with the version's files.
        """
        return self._history.only(self._positions(self._row.held_out), self.upto)

    def _positions(self, noted: Sequence[int] | None) -> Sequence[int]:
        if noted is None:
            raise UnknownVersionError(
                f"what version {self.version} of {self.strategy!r} was trained on was given up with its files: "
                "keep_versions says how many are kept"
            )
        return noted

    def export(
        self,
        path: str | Path,
        *,
        format: ExportFormat = "jsonl",
        held_out: bool = False,
        **options: Unpack[ExportSettings],
    ) -> int:
        """Write the examples to a file, whole or not at all, as they were known then; return how many.

        Args:
            path: Where to.
            format: See ``router.examples.export``.
            held_out: Those that judged it, in the place of those that it was trained on.
            **options: What of them goes out, see ``ExportSettings``.

        Raises:
            InvalidInputError: if the format is unknown, a file cannot be read or written, or options contradict.
            UnknownVersionError: if they were given up with the version's files.
        """
        if options.get("unanswered"):
            raise InvalidInputError("unanswered: nothing is trained on decisions without an outcome")
        history = self.held_out if held_out else self.examples
        return export_examples(history, Path(path), format, ExportOptions.of(path, **options), self._store.exports)

    def to_dict(self) -> dict[str, Any]:
        """What is known of it, as JSON values; of its examples, how many are still there."""
        told = {"strategy": self.strategy, "version": self.version, **self._row.to_dict()}
        if self._row.examples is None or self._row.held_out is None:
            return {**told, "given_up": True}
        noted = [*self._row.examples, *self._row.held_out]
        found = self._store.reader.query(lambda connection: presence(connection, noted))
        kept = {"listed": len(found.there), "forgotten": found.forgotten, "archived": found.archived}
        return {**told, "given_up": False, **kept}
