"""A few curves over the course of something, each labelled at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router_sdk.evaluation.drawing.svg import (
    Frame,
    drawing,
    kept_apart,
    path,
    round_step,
    round_ticks,
    shortened,
    text,
    x_axis,
)

DOTTED = 30
"""Most points of a curve that are drawn as dots too."""
COLOURS = 6

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Positions (at least 0) and values of each curve, by name; none is empty."""


def line_chart(curves: Curves, title: str, x_words: str, *, share: bool) -> str:
    """Draw the curves as SVG.

    Args:
        curves: What to draw.
        title: For screen readers.
        x_words: What the positions count.
        share: Whether the values lie in [0, 1]: the axis shows the part of it that is needed. Otherwise it starts
            at 0, or at the lowest value below.
    """
    points = [point for curve in curves.values() for point in curve]
    low, high = min(y for _, y in points), max(y for _, y in points)
    x_max = max(1e-9, *(x for x, _ in points))
    y_min, y_max = _range(low, high, share)
    frame = Frame(460, 268, 46, 150, 16, 48, x_max, y_min, y_max)
    parts = []
    for value in round_ticks(y_min, y_max, 5):
        at = frame.y(value)
        parts.append(f'<line class="grid" x1="{frame.left}" y1="{at:.1f}" x2="{frame.x_end}" y2="{at:.1f}"/>')
        parts.append(text(frame.left - 8, at + 4, f"{value:.0%}" if share else f"{value:.3g}", "tick", "end"))
    parts += x_axis(frame, max(1, min(6, int(x_max))), x_words)
    for number, curve in enumerate(curves.values()):
        spots = [(frame.x(x), frame.y(y)) for x, y in curve]
        parts.append(f'<path class="line s{number % COLOURS}" d="{path(spots)}"/>')
        dots = spots if len(spots) <= DOTTED else spots[-1:]
        parts += [f'<circle class="end s{number % COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots]
    ends = [frame.y(curve[-1][1]) for curve in curves.values()]
    places = kept_apart(ends, frame.top, frame.height - frame.bottom)
    for number, ((name, curve), end, at) in enumerate(zip(curves.items(), ends, places, strict=True)):
        from_x, last = frame.x(curve[-1][0]), curve[-1][1]
        parts.append(f'<path class="leader" d="{path([(from_x + 5, end), (frame.x_end + 12, at)])}"/>')
        label = f"{shortened(name.replace('_', ' '), 17)} {f'{last:.1%}' if share else f'{last:.3g}'}"
        parts.append(text(frame.x_end + 16, at + 4, label, f"label s{number % COLOURS}"))
    return drawing(frame, parts, title)


def _range(low: float, high: float, share: bool) -> tuple[float, float]:
    """Round ends of the value axis."""
    if not share:
        step = round_step(max(high - min(low, 0.0), 1e-6), 5)
        return min(0.0, step * (low // step)), step * (high // step + 1)
    step = round_step(max(high - low, 0.05), 4)
    return max(0.0, step * int(low / step - 0.15)), min(1.0, step * (int(high / step + 0.15) + 1))
