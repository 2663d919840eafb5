"""A fit's report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.pages.page import (
    Curves,
    Unit,
    curve_chart,
    figure_list,
    heat_table,
    html_page,
    html_table,
)
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Confusion
    from router_sdk.evaluation.continual import Change, ForgettingRow
    from router_sdk.evaluation.fit_report import FitReport


MOST_ROWS = 25
"""Rows of a table; of more labels, those that lost most, or have most examples."""
UNKNOWN = "—"
NOBODY = "no agent fits"
UNANSWERED = "no answer"
POSITIONS = ("epoch", "step", "batch")
"""Keys of a curve's points that say where they stand, the best first."""


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
    return html_table(["", "before", "after", "change"], [*cells, ("", sizes)])


def forgetting_table(report: FitReport) -> str:
    """Old and fresh examples apart, everybody and each label; nothing where none could be judged."""
    rows = list(report.forgetting)
    if not any(row.old or row.fresh for row in rows):
        return ""
    shown = _most_lost(rows)
    heads = ["", "old", "before", "after", "change", "fresh", "before", "after", "change"]
    cells = [("overall" if row.overall else "", [_who(row), *_cells(row.old), *_cells(row.fresh)]) for row in shown]
    return f"{html_table(heads, cells)}{_left_out(len(rows) - len(shown))}"


def _most_lost(rows: Sequence[ForgettingRow]) -> list[ForgettingRow]:
    """All rows, or those that lost most, in their order."""

    def gained(row: ForgettingRow) -> float:
        return min((one.gained for one in (row.old, row.fresh) if one is not None), default=0.0)

    lost = sorted(rows, key=lambda row: (not row.overall, gained(row)))
    kept = {id(row) for row in lost[:MOST_ROWS]}
    return [row for row in rows if id(row) in kept]


def _who(row: ForgettingRow) -> str:
    return "all" if row.overall else escape(_name(row.name))


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
        name = escape(_name(row.name))
        rows.append(("", [name, f"{row.support:,}", *cells, _difference(*pairs[2], 1, 1.0, 2)]))
    table = html_table(["", "examples", "precision", "recall", "F1", "change of F1"], rows)
    return f"{table}{_left_out(len(after) - len(shown))}"


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


class Grid(NamedTuple):
    """A confusion matrix made ready to be drawn.

    Attributes:
        rows: Names of the labels.
        columns: Names of the choices: the labels', and ``UNANSWERED`` where anything was not.
        counts: Shape ``(len(rows), len(columns))``.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def render_fit_report(report: FitReport) -> str:
    """Render the report; the same report gives the same page."""
    parts = [
        f'<p class="eyebrow">{escape(_eyebrow(report))}</p>',
        f"<h1>{escape(headline(report))}</h1>",
        f'<p class="lead">{escape(_lead(report))}</p>',
        figure_list(_figures(report)),
        _section("What the gate said", "", _verdicts(report)),
        _section(
            "Before and after", "On the same held-out examples, which neither was fitted on.", summary_table(report)
        ),
        _section("Learning curve", "As the fit reported it.", _curves(report)),
        _section(
            "Who is taken for whom",
            "Labelled held-out examples: rows are labels, columns are favourites. The stronger, the larger the share "
            "of the row.",
            _confusions(report),
        ),
        _section(
            "What was forgotten, what was learnt",
            "Share of labelled held-out examples that are right, or mean reward where there are no labels. Old ones "
            "are from before the last fit, fresh ones since.",
            forgetting_table(report),
        ),
        _section("Agent by agent", "F1 and its parts, before → after.", class_table(report)),
        _section("How it was fitted", "", _settings(report)),
    ]
    return html_page(headline(report), "\n".join(filter(None, parts)))


def headline(report: FitReport) -> str:
    """The finding in one line: how right, against what served, and whether it may serve."""
    name = report.strategy if report.version is None else f"{report.strategy}, version {report.version},"
    after, before = report.after, report.before
    if after.accuracy is not None and before.accuracy is not None:
        found = f"{after.accuracy:.1%} right on held-out examples, {before.accuracy:.1%} before"
    elif after.value is not None and before.value is not None:
        found = f"a mean reward of {after.value:.3f} on held-out examples, {before.value:.3f} before"
    else:
        found = "no held-out example could be judged"
    words = {True: "may serve", False: "was refused", None: "was fitted"}[report.passed]
    return f"{name} {words}: {found}"


def _eyebrow(report: FitReport) -> str:
    kind = "Synthetic fit" if report.synthetic else "Fit"
    return " · ".join((f"{kind} report", counted(report.examples, "example"), f"{report.duration_s:,.1f} s"))


def _lead(report: FitReport) -> str:
    after = report.after
    said = (
        f"Fitted on {counted(report.examples, 'example')}; {report.held_out:,} more were kept apart to compare "
        f"with what served. Of those {after.n_labelled:,} have a label"
    )
    if after.n_matched:
        said += f", and on {after.n_matched:,} others the favourite is who acted, so that its reward is known"
    said += "."
    overall = report.forgetting[0] if report.forgetting else None
    if overall is not None and overall.old is not None:
        points = 100 * overall.old.gained
        kept = "kept what it knew" if abs(points) < 0.05 else f"{'gained' if points > 0 else 'lost'} {abs(points):.1f}"
        said += f" On old examples it {kept}{'' if abs(points) < 0.05 else ' points'}."
    return said


def _figures(report: FitReport) -> list[tuple[str, str, str]]:
    before, after = report.before, report.after
    overall = report.forgetting[0] if report.forgetting else None
    accuracy = (share_of(after.accuracy), f"{share_of(before.accuracy)} before")
    if after.accuracy is None:
        accuracy = (number_of(after.value), f"{number_of(before.value)} before, by rewards")
    return [
        ("Right on held-out examples", *accuracy),
        ("On old examples", *_big(None if overall is None else overall.old)),
        ("On fresh examples", *_big(None if overall is None else overall.fresh)),
        ("Calibration error", number_of(after.ece), f"{number_of(before.ece)} before"),
    ]


def _big(change: Change | None) -> tuple[str, str]:
    return (
        (UNKNOWN, "none to judge") if change is None else (share_of(change.after), f"{share_of(change.before)} before")
    )


def _verdicts(report: FitReport) -> str:
    """Each check's word, why, and the numbers behind it; of reports of earlier releases there are none."""
    if not report.verdicts:
        return ""
    kinds = {"pass": "gain", "fail": "loss"}
    rows = []
    for said in report.verdicts:
        numbers = " · ".join(f"{name} {value:.4g}" for name, value in said.evidence.items() if value is not None)
        word = f'<span class="{kinds.get(said.status, "same")}">{escape(said.status)}</span>'
        words = (f'<span class="words">{escape(text.replace("_", " "))}</span>' for text in (said.reason, numbers))
        rows.append(("", [escape(said.check), word, *words]))
    return html_table(["check", "said", "why", "numbers"], rows)


def _curves(report: FitReport) -> str:
    points = list(report.curve)
    if not points:
        return ""
    where = next((key for key in POSITIONS if all(key in point for point in points)), "point")
    positions = [point.get(where, number) for number, point in enumerate(points, start=1)]
    curves: dict[str, list[tuple[float, float]]] = {}
    for x, point in zip(positions, points, strict=True):
        for key, value in point.items():
            if key not in POSITIONS:
                curves.setdefault(key, []).append((max(0.0, x), value))
    losses = {key: curve for key, curve in curves.items() if key.endswith("loss")}
    shares = {
        key: curve
        for key, curve in curves.items()
        if key not in losses and "rate" not in key and all(0.0 <= y <= 1.0 for _, y in curve)
    }
    panels_of: tuple[tuple[str, Curves, Unit], ...] = (("Loss", losses, "number"), ("Share", shares, "percent"))
    panels = [
        f"<div><h3>{name}</h3>{curve_chart(found, f'{name} by {where}', where, unit=unit)}</div>"
        for name, found, unit in panels_of
        if found
    ]
    return f'<div class="pair">{"".join(panels)}</div>' if panels else ""


def _confusions(report: FitReport) -> str:
    before, after = report.before.confusion, report.after.confusion
    if before is None or after is None:
        return ""
    panels = [
        f"<div><h3>{name}</h3>{heat_table(grid.rows, grid.columns, grid.counts, f'{name}: label, favourite')}</div>"
        for name, grid in zip(("Before", "After"), grids([before, after]), strict=True)
    ]
    return f'<div class="pair">{"".join(panels)}</div>'


def grids(confusions: Sequence[Confusion], most: int = 20) -> list[Grid]:
    """Bring matrices to the same rows and columns, so that they can stand side by side.

    Args:
        confusions: Matrices over classes that overlap.
        most: Most classes shown; of more, those with the most mistakes, and the others as one.
    """
    tables = [
        {
            (label, choice): count
            for label, row in zip(one.names, one.counts, strict=True)
            for choice, count in zip(one.names, row, strict=True)
        }
        for one in confusions
    ]
    names = sorted({name for one in confusions for name in one.names}, key=lambda name: (name is None, name or ""))
    mistakes = dict.fromkeys(names, 0)
    for table in tables:
        for (label, choice), count in table.items():
            if label != choice:
                mistakes[label] += count
                mistakes[choice] += count
    if len(names) > most:
        kept = set(sorted(names, key=lambda name: -mistakes[name])[: most - 1])
        places = {name: 0 for name in names if name not in kept}
        shown = [_name(name) for name in names if name in kept] + [f"{len(places)} others"]
        places = dict.fromkeys(places, len(shown) - 1) | {
            name: i for i, name in enumerate(name for name in names if name in kept)
        }
    else:
        shown, places = [_name(name) for name in names], {name: i for i, name in enumerate(names)}
    silent = any(any(one.unanswered) for one in confusions)
    found = []
    for one, table in zip(confusions, tables, strict=True):
        counts = [[0] * (len(shown) + silent) for _ in shown]
        for (label, choice), count in table.items():
            counts[places[label]][places[choice]] += count
        if silent:
            for label, count in zip(one.names, one.unanswered, strict=True):
                counts[places[label]][-1] += count
        columns = (*shown, UNANSWERED) if silent else tuple(shown)
        found.append(Grid(tuple(shown), columns, tuple(map(tuple, counts))))
    return found


def _name(name: str | None) -> str:
    return NOBODY if name is None else name


def _settings(report: FitReport) -> str:
    rows = [
        ("", [escape(name), f'<span class="words">{escape(value)}</span>'])
        for name, value in _flat(report.settings.items())
    ]
    return html_table(["setting", "value"], rows) if rows else ""


def _flat(items: Iterable[tuple[object, object]], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values one by one, each named by the way to it."""
    for name, value in items:
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value.items(), f"{path} · ")
        elif isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
            yield from _flat(enumerate(value, 1), f"{path} · ")
        elif isinstance(value, (list, tuple)):
            yield path, ", ".join(map(str, value))
        else:
            yield path, str(value)


def _section(name: str, words: str, content: str) -> str:
    """A section, or nothing where there is nothing to show."""
    if not content:
        return ""
    sub = f'<p class="sub">{escape(words)}</p>' if words else ""
    return f"<section>\n<h2>{escape(name)}</h2>\n{sub}{content}\n</section>"
