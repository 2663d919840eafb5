"""What a fit measured, kept as JSON beside the versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from router_sdk.errors import CorruptArtifactError
from router_sdk.evaluation.fit_report import FitReport, HeldOutFigures
from router_sdk.gate import HeldOutScore
from router_sdk.store.artifacts import write_private

if TYPE_CHECKING:
    from pathlib import Path


def write_report(report: FitReport, path: Path) -> None:
    """Write a report."""
    write_private(path, json.dumps(report.to_dict()))


def read_report(path: Path) -> FitReport:
    """Read what ``write_report`` wrote.

    Raises:
        CorruptArtifactError: if it is not there, or no report.
    """
    try:
        return FitReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{path.name}: no report of a fit can be read ({type(error).__name__})") from error


def score(figures: HeldOutFigures, held_out: int) -> HeldOutScore:
    """What the gate needs of the figures."""
    return HeldOutScore(figures.value, figures.ess, held_out, figures.abstained)


def summary(report: FitReport) -> dict[str, Any]:
    """What the registry keeps of a report, as JSON values."""

    def short(figures: HeldOutFigures) -> dict[str, Any]:
        names = ("accuracy", "value", "ess", "log_loss", "abstained", "ece", "macro_f1")
        return {name: getattr(figures, name, None) for name in names}

    return {
        "held_out": report.held_out,
        "duration_s": report.duration_s,
        "before": short(report.before),
        "after": short(report.after),
        "curve": [dict(point) for point in report.curve],
    }
