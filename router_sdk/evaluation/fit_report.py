"""What one fit did: how it went, and how well before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from router_sdk.evaluation.candidate import CandidateEvidence
from router_sdk.evaluation.classification import ClassFigures, Confusion, classify, expected_calibration_error
from router_sdk.evaluation.continual import ForgettingRow, forgetting_table

if TYPE_CHECKING:
    from router_sdk.evaluation.held_out import HeldOut
    from router_sdk.records import TrainingData


class Verdict(NamedTuple):
    """One check's word on a candidate: ``"pass"``, ``"fail"`` or ``"insufficient"``, why, and on which numbers."""

    check: str
    status: str
    reason: str
    evidence: Mapping[str, float | None] = MappingProxyType({})

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {**self._asdict(), "evidence": dict(self.evidence)}


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """The figures of one evaluation on held-out examples; see ``HeldOut`` for those of the same name.

    Attributes:
        macro_f1: Mean F1 over the labels, or None without any.
        ece: Expected calibration error on labelled examples that were answered, over 15 bins of equal width.
        report: Figures of each label.
        confusion: Who was taken for whom.
    """

    accuracy: float | None
    value: float | None
    ess: float
    log_loss: float | None
    n_labelled: int
    n_matched: int
    abstained: float
    failed: int
    macro_f1: float | None = None
    ece: float | None = None
    report: tuple[ClassFigures, ...] = ()
    confusion: Confusion | None = None

    @classmethod
    def of(cls, found: HeldOut) -> Self:
        """Sum an evaluation up."""
        judged = [answer for answer in found.answers if answer.labelled and answer.score is not None]
        classes = None
        if judged:
            classes = classify(
                [answer.favourite for answer in judged],
                [answer.label for answer in judged],
                [answer.answered for answer in judged],
            )
        sure = [(one.confidence, one.score) for one in judged if one.confidence is not None and one.score is not None]
        return cls(
            accuracy=found.accuracy,
            value=found.value,
            ess=found.ess,
            log_loss=found.log_loss,
            n_labelled=found.n_labelled,
            n_matched=found.n_matched,
            abstained=found.abstained,
            failed=found.failed,
            macro_f1=None if classes is None else classes.macro_f1,
            ece=expected_calibration_error([confidence for confidence, _ in sure], [score for _, score in sure]),
            report=() if classes is None else classes.report,
            confusion=None if classes is None else classes.confusion,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` gave, also after a trip through JSON."""
        confusion = fields["confusion"]
        read = {
            "report": tuple(ClassFigures(**row) for row in fields["report"]),
            "confusion": None if confusion is None else Confusion.from_dict(confusion),
        }
        return cls(**{**fields, **read})


@dataclass(frozen=True, slots=True)
class FitReport:
    """One fit, for people and for programs.

    Attributes:
        strategy: What was fitted.
        examples: Examples that it learnt from.
        held_out: Examples that were kept apart.
        duration_s: How long it took, in seconds.
        before: What served, on the held-out examples.
        after: The candidate, on the same.
        forgetting: Old and fresh held-out examples apart; everybody first, then each label.
        curve: Points of the learning curve, such as ``{"epoch": 1, "loss": .4, "accuracy": .9}``.
        version: The version's number, once it has one.
        passed: Whether the gate let it serve, once asked.
        verdicts: What each check said.
        synthetic: Whether the examples came from a generator or a file.
        settings: What the fit was told that a reader may want to know, such as mode and learning rate.
        fine_tuned: Whether an encoder was moved; False where a head alone was fitted.
        data_hash: Equal for fits from equal examples.
        folds: In how many parts the examples judged in turn; 1 is one held-out share.
        threshold: What ``evaluation.thresholds`` found of the version's ``confidence_threshold``, as JSON values; None
            where nobody stands behind it in the chain.
        evidence: What the gate looked at beside the figures; None in reports of earlier releases.
    """

    strategy: str
    examples: int
    held_out: int
    duration_s: float
    before: HeldOutFigures
    after: HeldOutFigures
    forgetting: tuple[ForgettingRow, ...] = ()
    curve: tuple[Mapping[str, float], ...] = ()
    version: int | None = None
    passed: bool | None = None
    verdicts: tuple[Verdict, ...] = ()
    synthetic: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    fine_tuned: bool = False
    data_hash: str = ""
    folds: int = 1
    threshold: Mapping[str, Any] | None = None
    evidence: CandidateEvidence | None = None

    def judged(self, passed: bool, verdicts: Iterable[Sequence[Any]], version: int | None = None) -> Self:
        """The report with the gate's word: for each check its name, status and reason, and the numbers behind it."""
        said = tuple(Verdict(*verdict) for verdict in verdicts)
        return replace(self, passed=passed, verdicts=said, version=self.version if version is None else version)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(replace(self, verdicts=())), "verdicts": [verdict.to_dict() for verdict in self.verdicts]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave, also after a trip through JSON, and in an earlier release."""
        evidence = fields.get("evidence")
        read = {
            "before": HeldOutFigures.from_dict(fields["before"]),
            "after": HeldOutFigures.from_dict(fields["after"]),
            "forgetting": tuple(ForgettingRow.from_dict(row) for row in fields["forgetting"]),
            "curve": tuple(dict(point) for point in fields["curve"]),
            "verdicts": tuple(Verdict(**verdict) for verdict in fields["verdicts"]),
            "evidence": None if evidence is None else CandidateEvidence.from_dict(evidence),
        }
        return cls(**{**fields, **read})


def fit_report(
    strategy: str,
    data: TrainingData,
    before: HeldOut,
    after: HeldOut,
    *,
    duration_s: float,
    curve: Iterable[Mapping[str, float]] = (),
    settings: Mapping[str, Any] | None = None,
    fine_tuned: bool = False,
    data_hash: str = "",
    folds: int = 1,
) -> FitReport:
    """Sum a fit up; the gate's word and the version come later, see ``FitReport.judged``.

    Args:
        strategy: What was fitted.
        data: What it saw.
        before: What served, evaluated on ``data.held_out``.
        after: The candidate, evaluated on the same.
        duration_s: How long it took, in seconds.
        curve: What the fit told ``FitContext.note``; numbers that are not finite are left out.
        settings: What to show of the fit's settings.
        fine_tuned: Whether an encoder was moved.
        data_hash: Of the examples.
        folds: In how many parts they judged in turn.
    """
    return FitReport(
        strategy=strategy,
        examples=len(data.examples),
        held_out=len(data.held_out),
        duration_s=duration_s,
        before=HeldOutFigures.of(before),
        after=HeldOutFigures.of(after),
        forgetting=forgetting_table(before, after, data.fresh_after),
        curve=tuple({name: float(value) for name, value in point.items() if math.isfinite(value)} for point in curve),
        synthetic=data.synthetic,
        settings=dict(settings or {}),
        fine_tuned=fine_tuned,
        data_hash=data_hash,
        folds=folds,
    )
