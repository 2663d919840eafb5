"""The tables of a fit's report: figures before and after, forgetting, and each agent's own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from router_sdk.evaluation.drawing.heat_map import NOBODY
from router_sdk.evaluation.drawing.page import html_table

if TYPE_CHECKING:
    from router_sdk.evaluation.fit_report import FitReport
    from router_sdk.evaluation.forgetting import Change, ForgettingRow

STYLE = """
.gain { color: var(--good); } .loss { color: var(--bad); } .same { color: var(--faint); }
td small { color: var(--faint); font-size: 12.5px; }
tr.overall td { font-weight: 620; }
"""
MOST_ROWS = 25
"""Rows of a table; of more labels, those that lost most, or have most examples."""
UNKNOWN = "—"


def summary_table(report: FitReport) -> str:
    """The figures over all held-out examples."""
    one, two = report.before, report.after
    rows = [
        ("Accuracy", one.accuracy, two.accuracy, 1),
        ("Macro F1", one.macro_f1, two.macro_f1, 1),
        ("Value, labels and rewards", one.value, two.value, 1),
        ("Log loss", one.log_loss, two.log_loss, -1),
        ("Calibration error (ECE)", one.ece, two.ece, -1),
        ("Without an answer", one.abstained, two.abstained, -1),
    ]
    cells = [
        ("", [escape(name), number_of(old), number_of(new), _difference(old, new, better, 1.0, 3)])
        for name, old, new, better in rows
    ]
    sizes = ["Effective sample size", f"{one.ess:,.0f}", f"{two.ess:,.0f}", ""]
    return f'<div class="scroll">{html_table(["", "before", "after", "change"], [*cells, ("", sizes)])}</div>'


def forgetting_table(report: FitReport) -> str:
    """Old and fresh examples apart, everybody and each label; nothing where none could be judged."""
    rows = list(report.forgetting)
    if not any(row.old or row.fresh for row in rows):
        return ""
    shown = _most_lost(rows)
    heads = ["", "old", "before", "after", "change", "fresh", "before", "after", "change"]
    cells = [("overall" if row.overall else "", [_who(row), *_cells(row.old), *_cells(row.fresh)]) for row in shown]
    return f'<div class="scroll">{html_table(heads, cells)}</div>{_left_out(len(rows) - len(shown))}'


def _most_lost(rows: Sequence[ForgettingRow]) -> list[ForgettingRow]:
    """All rows, or those that lost most, in their order."""

    def gained(row: ForgettingRow) -> float:
        return min((one.gained for one in (row.old, row.fresh) if one is not None), default=0.0)

    lost = sorted(rows, key=lambda row: (not row.overall, gained(row)))
    kept = {id(row) for row in lost[:MOST_ROWS]}
    return [row for row in rows if id(row) in kept]


def _who(row: ForgettingRow) -> str:
    return "all" if row.overall else escape(NOBODY if row.name is None else row.name)


def _cells(change: Change | None) -> list[str]:
    if change is None:
        return [UNKNOWN] * 4
    gained = _difference(change.before, change.after, 1, 100.0, 1)
    return [f"<small>{change.examples:,.0f}</small>", share_of(change.before), share_of(change.after), gained]


def class_table(report: FitReport) -> str:
    """Precision, recall and F1 of each agent; nothing without labels."""
    before = {row.name: row for row in report.before.report}
    after = [row for row in report.after.report if row.support]
    if not after:
        return ""
    shown = sorted(after, key=lambda row: -row.support)[:MOST_ROWS]
    rows = []
    for row in shown:
        was = before.get(row.name)
        pairs = [
            (None if was is None else getattr(was, key), getattr(row, key)) for key in ("precision", "recall", "f1")
        ]
        cells = [f'<small class="same">{number_of(old, 2)} →</small> {number_of(new, 2)}' for old, new in pairs]
        name = escape(NOBODY if row.name is None else row.name)
        rows.append(("", [name, f"{row.support:,}", *cells, _difference(*pairs[2], 1, 1.0, 2)]))
    table = html_table(["", "examples", "precision", "recall", "F1", "change of F1"], rows)
    return f'<div class="scroll">{table}</div>{_left_out(len(after) - len(shown))}'


def _left_out(count: int) -> str:
    return f'<p class="sub">{count:,} more are in the JSON report.</p>' if count else ""


def share_of(value: float | None) -> str:
    """A share in percent."""
    return UNKNOWN if value is None else f"{value:.1%}"


def number_of(value: float | None, digits: int = 3) -> str:
    """A figure as it is."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _difference(before: float | None, after: float | None, better: int, scale: float, digits: int) -> str:
    """The signed change, coloured by whether it is for the better."""
    if before is None or after is None:
        return UNKNOWN
    change = round(scale * (after - before), digits)
    kind = "same" if change == 0 else "gain" if change * better > 0 else "loss"
    return f'<span class="{kind}">{change:+.{digits}f}</span>' if change else '<span class="same">0</span>'
