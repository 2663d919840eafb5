"""Shares over the stream as stacked areas: which strategy answered, which agent got the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from router_sdk.demo.report import Series
from router_sdk.evaluation.drawing.svg import Frame, drawing, kept_apart, path, phase_marks, shortened, text, x_axis

LEAST_LABELLED = 0.005
"""Share over the whole stream below which a band gets no label, in [0, 1]."""


def shares_chart(series: Series, phases: Sequence[tuple[str, int, int]], classes: Mapping[str, str], title: str) -> str:
    """Draw the shares as SVG, the largest at the bottom, each band labelled at its right edge.

    Args:
        series: Shares that sum to 1 at every position.
        phases: Name, start and end of each.
        classes: Style of each band.
        title: For screen readers.
    """
    frame = Frame(460, 268, 40, 132, 30, 48, series.positions[-1], 0.0, 1.0)
    steps = [0, *series.positions]
    floor = [0.0] * len(series.positions)
    parts, names, middles = [], [], []
    for name, values in series.values.items():
        top = [low + value for low, value in zip(floor, values, strict=True)]
        parts.append(f'<path class="band {classes[name]}" d="{_band(frame, steps, floor, top)}"/>')
        if sum(values) / len(values) >= LEAST_LABELLED:
            names.append(name)
            middles.append(frame.y((floor[-1] + top[-1]) / 2))
        floor = top
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = frame.y(value)
        parts.append(f'<line class="grid over" x1="{frame.left}" y1="{at:.1f}" x2="{frame.x_end}" y2="{at:.1f}"/>')
        parts.append(text(frame.left - 8, at + 4, f"{value:.0%}", "tick", "end"))
    parts += x_axis(frame, 4, "tasks routed")
    parts += phase_marks(frame, phases, named=len(phases) <= 2)
    for name, middle, at in zip(names, middles, kept_apart(middles, frame.top, frame.y(0.0)), strict=True):
        parts.append(f'<path class="leader" d="{path([(frame.x_end + 3, middle), (frame.x_end + 11, at)])}"/>')
        parts.append(text(frame.x_end + 15, at + 4, shortened(name, 17), f"label {classes[name]}"))
    return drawing(frame, parts, title)


def _band(frame: Frame, edges: Sequence[int], low: Sequence[float], high: Sequence[float]) -> str:
    """The outline of a band of steps: along its top, and back along its bottom."""
    over, under = [], []
    for i, (start, end) in enumerate(pairwise(edges)):
        over += [(frame.x(start), frame.y(high[i])), (frame.x(end), frame.y(high[i]))]
        under += [(frame.x(start), frame.y(low[i])), (frame.x(end), frame.y(low[i]))]
    return path([*over, *reversed(under)]) + "Z"
