"""A fitted version of a strategy, as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One row of the registry.

    Attributes:
        strategy: Whose version.
        version: 1, 2, 3 … for each strategy.
        at: When it was registered, in seconds since the epoch.
        kind: ``"fit"`` from what happened here, ``"pretrain"`` from a generator or a file, ``"external"`` by a
            callable of the user's, ``"import"`` from a folder that a router exported.
        parent: Version that served when it was made, or None.
        upto: Position in the log up to which it was trained.
        samples: Examples that it was trained on.
        passed: Whether the gate let it through.
        reason: What decided.
        settings: What of the strategy's configuration was overridden for this fit.
        metrics: What the fit measured, as JSON values.
        folder: Name of its folder among the store's artefacts.
        fine_tuned: Whether the fit moved an encoder; False where a head alone was fitted.
        data_hash: Equal for versions that were fitted on the same examples.
        pruned_at: When its files were given up, in seconds since the epoch; None while they are there.
        dataset: What it was trained on, in figures; None where that was not noted. See ``router.models.dataset``.
        status: ``"active"`` where it serves, ``"deprecated"`` where it did, ``"archived"`` where its files were given
            up, else ``"candidate"``; what is in training has no number yet.
        aliases: ``"champion"`` where it serves, and ``"pinned"`` where a person said so; ``"quarantined"`` where it was
            rolled back by itself.
        trigger: Why its fit was begun, once the fit has ended; None where the log does not say.
    """

    strategy: str
    version: int
    at: float
    kind: str
    parent: int | None
    upto: int
    samples: int
    passed: bool
    reason: str
    folder: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fine_tuned: bool = False
    data_hash: str | None = None
    pruned_at: float | None = None
    dataset: Mapping[str, Any] | None = None
    status: str = "candidate"
    aliases: tuple[str, ...] = ()
    trigger: str | None = None

    @property
    def left_out(self) -> tuple[tuple[int, int], ...]:
        """Positions that it was fitted without, because they were quarantined: behind the first, up to the second."""
        return tuple((begin, end) for begin, end in self.metrics.get("left_out", ()))

    def to_dict(self) -> dict[str, Any]:
        """The version as JSON values."""
        return {**asdict(self), "aliases": list(self.aliases)}
