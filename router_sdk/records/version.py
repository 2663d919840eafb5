"""A fitted version of a strategy, as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from router_sdk.spelling import counted

_SAW = {"no_regression": "held-out example", "validation": "validation task"}
"""What the checks looked at that compare rewards."""
_FEW = 50
"""Examples below which no gain that there is would be seen."""


def version_name(version: int | None) -> str:
    """What serves of a strategy, in words; None is the strategy without any fit."""
    return "the strategy without any fit" if version is None else f"version {version}"


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

    @property
    def decided(self) -> tuple[Mapping[str, Any], ...]:
        """The results of the checks that let it serve, or refused it: ``check, status, reason, evidence``.

        Empty where an earlier release made it, which did not note them.
        """
        told = self.metrics.get("gate", {})
        names = told.get("decided", ())
        return tuple(result for result in told.get("results", ()) if result["check"] in names)

    @property
    def why(self) -> str:
        """Why it may serve or may not, in words; the line of the gate where nothing else is known."""
        return "; ".join(map(_in_words, self.decided)) or self.reason

    def in_words(self, said: str) -> str:
        """What was said of it, such as why it serves, with ``why`` in the place of the gate's line."""
        return said.replace(self.reason, self.why) if self.reason else said

    def to_dict(self) -> dict[str, Any]:
        """The version as JSON values."""
        return {**asdict(self), "aliases": list(self.aliases), "why": self.why}


def _in_words(result: Mapping[str, Any]) -> str:
    """What a check saw, as the middle of a sentence about a version: in figures of two places."""
    check, status, numbers = result["check"], result["status"], result["evidence"]
    count, before, after = (numbers.get(name) for name in ("effective_examples", "before", "after"))
    if check not in _SAW or status == "insufficient" or count is None or after is None:
        said = {"pass": "passed", "fail": "refused it", "insufficient": "could not tell"}[status]
        return f"the check {check} {said}: {result['reason']}"
    on = f"on {counted(round(count), _SAW[check])}"
    if before is None:
        return f"it earned {after:.2f} {on}, where what served before had no answer"
    figures = f"({after:.2f} against {before:.2f})"
    if status == "fail":
        return f"it did worse than what served before {on} {figures}" if after < before else f"it gained nothing {on}"
    if numbers.get("low", 0.0) > 0.0:
        return f"it did better than what served before {on} {figures}"
    few = "" if before > 0.995 else "; too few to see a gain" if count < _FEW else "; no gain is certain"
    return f"it did no worse than what served before {on} {figures}{few}"
