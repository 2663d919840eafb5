"""Charts of a page: their data as JSON for the charting script, and as a table for who cannot see them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Literal

from router_sdk.pages.page import CHART, html_table

COLOURS = 7
"""How many colours the style sheet has, from ``s0`` to ``s6``; the last one suits what was folded together."""
DIGITS = 5
ROWS = 12
"""Most positions in a chart's table."""

Unit = Literal["percent", "unit", "number"]
"""Values in [0, 1] in percent, such as they are, or any numbers, whose axis begins at 0."""
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
