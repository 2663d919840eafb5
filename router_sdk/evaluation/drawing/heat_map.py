"""A confusion matrix as a heat map: right in one colour, wrong in another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from router_sdk.evaluation.drawing.svg import shortened, text

if TYPE_CHECKING:
    from router_sdk.evaluation.classification import Confusion

NOBODY = "no agent fits"
UNANSWERED = "no answer"
WIDTH = 460.0
LARGEST_CELL = 46.0
NUMBERED_CELL = 19.0
"""Cells narrower than this, in pixels, show no number."""
LABEL_CHARS = 18

STYLE = """
.cell { stroke: var(--card); stroke-width: 1.5; fill: var(--wash); }
.cell.right { fill: var(--s0); } .cell.wrong { fill: var(--s1); }
svg .number { font-size: 11px; fill: var(--ink); } svg .number.on { fill: var(--card); font-weight: 600; }
svg .side { fill: var(--faint); font-size: 11.5px; }
"""


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


def heat_map(grid: Grid, title: str) -> str:
    """Draw the matrix as SVG: a cell is as strong as its share of the row, by the square root."""
    longest = min(LABEL_CHARS, max(map(len, grid.columns)))
    left = 24.0 + 6.2 * longest
    cell = min(LARGEST_CELL, (WIDTH - left - 4.4 * longest) / len(grid.columns))
    slant = 42.0 if cell >= NUMBERED_CELL else 60.0
    top = 24.0 + 6.4 * longest * math.sin(math.radians(slant))
    height = top + cell * len(grid.rows) + 10
    parts = [
        text(left - 8, top - 7, "label ↓ · choice →", "side", "end"),
        *_names(grid, left, top, cell, slant),
    ]
    for i, row in enumerate(grid.counts):
        whole = sum(row)
        for j, count in enumerate(row):
            x, y = left + j * cell, top + i * cell
            strength = math.sqrt(count / whole) if count else 0.0
            kind = ("right" if i == j else "wrong") if count else "none"
            opacity = f' fill-opacity="{0.1 + 0.9 * strength:.2f}"' if count else ""
            words = f"{grid.rows[i]} → {grid.columns[j]}: {count:,} of {whole:,}"
            parts.append(
                f'<rect class="cell {kind}" x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" rx="3"'
                f"{opacity}><title>{escape(words)}</title></rect>"
            )
            if count and cell >= NUMBERED_CELL and count < 10_000:
                tone = "number on" if strength > 0.6 else "number"
                parts.append(text(x + cell / 2, y + cell / 2 + 4, f"{count}", tone, "middle"))
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _names(grid: Grid, left: float, top: float, cell: float, slant: float) -> list[str]:
    """Labels beside the rows, choices above the columns: the steeper, the closer they may stand."""
    found = [
        text(left - 8, top + (i + 0.5) * cell + 4, shortened(name, LABEL_CHARS), "tick", "end")
        for i, name in enumerate(grid.rows)
    ]
    for j, name in enumerate(grid.columns):
        x, y = left + (j + 0.5) * cell + 3, top - 7
        found.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="tick" transform="rotate({-slant:g} {x:.1f} {y:.1f})">'
            f"{escape(shortened(name, LABEL_CHARS))}</text>"
        )
    return found


def _name(name: str | None) -> str:
    return NOBODY if name is None else name
