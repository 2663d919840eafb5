"""A self-contained HTML page, light and dark; its charts, and their data as tables for who cannot see them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Literal

CHART = '<figure class="chart">'
"""How a chart begins."""


@cache
def page_file(name: str, package: str = "router_sdk.pages") -> str:
    """The text of a style sheet, script or template that stands beside the code of ``package``."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def html_page(title: str, body: str, style: str = "") -> str:
    """The whole document; the charting script is in it where there is a chart.

    Args:
        title: For the window.
        body: Finished HTML.
        style: Rules of this page alone, after the shared ones.
    """
    sheets, scripts = [page_file("page.css"), style], []
    if CHART in body:
        sheets.insert(0, page_file("uPlot.min.css"))
        scripts = [f"<script>{page_file(name)}</script>\n" for name in ("uPlot.iife.min.js", "charts.js")]
    return Template(page_file("page.html")).substitute(
        title=escape(title), style="\n".join(sheets), body=body, scripts="".join(scripts)
    )


def figure_list(figures: Iterable[tuple[str, str, str]]) -> str:
    """A row of large figures: name, value (finished HTML) and a hint for each; four look best."""
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="value">{value}</dd><dd class="hint">{escape(hint)}</dd></div>'
        for name, value, hint in figures
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def html_table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of finished HTML cells in a frame that scrolls; a row comes with its class, and starts with its name."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for kind, (name, *cells) in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def verdict_list(verdicts: Iterable[tuple[str, str]]) -> str:
    """Verdicts in a word each, such as ``won`` or ``fail``, with what they are about."""
    items = (f'<li><b class="{escape(word)}">{escape(word)}</b>{escape(about)}</li>' for word, about in verdicts)
    return f'<ul class="verdicts">{"".join(items)}</ul>'


COLOURS = 7
"""How many colours the style sheet has, from ``s0`` to ``s6``; the last one suits what was folded together."""
DIGITS = 5
ROWS = 12
"""Most positions in a chart's table."""

Unit = Literal["percent", "unit", "number", "difference"]
"""Values in [0, 1] in percent, such as they are; any numbers, whose axis begins at 0; or numbers of either sign."""
Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Positions and values of each curve, by name; none is empty."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart, or one band of a stack.

    Attributes:
        name: What the legend calls it.
        values: At each position; None where there is none.
        colour: A custom property of the style sheet, without its dashes.
        width: In pixels.
        dash: Whether it is dashed.
    """

    name: str
    values: Sequence[float | None]
    colour: str
    width: float = 1.8
    dash: bool = False


def chart(
    title: str,
    x: str,
    positions: Sequence[float],
    lines: Sequence[Line],
    *,
    unit: Unit,
    stacked: bool = False,
    phases: Sequence[tuple[str, float, float]] = (),
    height: int = 260,
) -> str:
    """A chart as a figure of an HTML page.

    Args:
        title: For screen readers.
        x: What the positions count.
        positions: Ascending, shape ``(n,)``.
        lines: With ``n`` values each; those of a stack sum to at most 1 everywhere, the first lies at the bottom.
        unit: What the values are.
        stacked: Whether they lie on each other, each value from the position before to its own.
        phases: Name, start and end of each stretch to mark.
        height: In pixels.
    """
    data = {
        "x": x,
        "positions": list(positions),
        "series": [{**asdict(line), "values": [_rounded(value) for value in line.values]} for line in lines],
        "unit": unit,
        "stacked": stacked,
        "phases": list(phases),
        "height": height,
    }
    told = json.dumps(data, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    words = f"{title}: a chart; arrow keys read its values out, and the table below holds them"
    return (
        f'{CHART}<div class="plot" role="application" aria-roledescription="chart" tabindex="0" '
        f'aria-label="{escape(words)}"></div><p class="unseen" aria-live="polite"></p>'
        f'<script type="application/json">{told}</script>'
        f"<details><summary>Values as a table</summary>{_values(x, positions, lines, unit)}</details></figure>"
    )


def curve_chart(curves: Curves, title: str, x: str, *, unit: Unit) -> str:
    """A chart of curves that need not stand at the same positions.

    Args:
        curves: What to draw.
        title: For screen readers.
        x: What the positions count.
        unit: What the values are.
    """
    positions = sorted({position for curve in curves.values() for position, _ in curve})
    lines = []
    for number, (name, curve) in enumerate(curves.items()):
        known = dict(curve)
        values = [known.get(position) for position in positions]
        lines.append(Line(name.replace("_", " "), values, f"s{number % (COLOURS - 1)}"))
    return chart(title, x, positions, lines, unit=unit)


def heat_table(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> str:
    """A matrix as a table whose cells are as strong as their share of the row, by the square root.

    Args:
        rows: Names, shape ``(r,)``.
        columns: Names, shape ``(c,)``; where a row's and a column's position are the same, a count is right.
        counts: Shape ``(r, c)``.
        title: For screen readers.
    """
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(_cells(i, row, name, columns))}</tr>'
        for i, (name, row) in enumerate(zip(rows, counts, strict=True))
    )
    return (
        f'<div class="scroll"><table class="heat"><caption class="unseen">{escape(title)}</caption>'
        f"<thead><tr><th>label ↓ · choice →</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(number: int, row: Sequence[int], name: str, columns: Sequence[str]) -> list[str]:
    whole, cells = sum(row), []
    for j, count in enumerate(row):
        if not count:
            cells.append("<td></td>")
            continue
        strength = math.sqrt(count / whole)
        kind = f"{'right' if number == j else 'wrong'}{' strong' if strength > 0.6 else ''}"
        words = escape(f"{name} → {columns[j]}: {count:,} of {whole:,}")
        style = f"--share: {0.1 + 0.9 * strength:.2f}"
        cells.append(f'<td class="{kind}" style="{style}" title="{words}">{count:,}</td>')
    return cells


def _values(x: str, positions: Sequence[float], lines: Sequence[Line], unit: Unit) -> str:
    """A few of the positions, the first and the last among them."""
    last = len(positions) - 1
    shown = sorted({round(last * step / (ROWS - 1)) for step in range(ROWS)})
    rows = [("", [f"{positions[i]:,.10g}", *(_told(line.values[i], unit) for line in lines)]) for i in shown]
    return html_table([x, *(line.name for line in lines)], rows)


def _told(value: float | None, unit: Unit) -> str:
    value = _rounded(value)
    return "-" if value is None else f"{value:.1%}" if unit == "percent" else f"{value:,.4g}"


def _rounded(value: float | None) -> float | None:
    """Short, and strict JSON."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
