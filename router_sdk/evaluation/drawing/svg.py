"""The few pieces of SVG that the charts share: scales, round ticks, paths and labels that keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LABEL_GAP = 16.0
"""Least distance between the baselines of two direct labels, in pixels."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area inside a drawing, and the data range that it shows.

    Attributes:
        width: Of the drawing, in pixels.
        height: Of the drawing, in pixels.
        left: Margin for the axis labels.
        right: Margin for the direct labels.
        top: Margin above.
        bottom: Margin below.
        x_max: Largest position; the smallest is 0.
        y_min: Value at the bottom.
        y_max: Value at the top.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_max: float
    y_min: float
    y_max: float

    def x(self, position: float) -> float:
        """Pixels from the left."""
        return self.left + (self.width - self.left - self.right) * position / self.x_max

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (value - self.y_min) / (self.y_max - self.y_min)
        return self.height - self.bottom - (self.height - self.top - self.bottom) * share

    @property
    def x_end(self) -> float:
        """Right edge of the plotting area."""
        return self.width - self.right


def round_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that cuts ``span`` into at most ``most`` pieces."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within [low, high], ends included where they are round."""
    step = round_step(high - low, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def path(points: Sequence[tuple[float, float]]) -> str:
    """A polyline's path data."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """A piece of text; ``kind`` is its class in the page's style sheet."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def shortened(words: str, most: int) -> str:
    """Words that fit: cut in the middle, where names that start and end alike still differ least."""
    if len(words) <= most:
        return words
    head = (most - 1) * 2 // 3
    return f"{words[:head]}…{words[len(words) - (most - 1 - head) :]}"


def kept_apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Move label positions as little as needed, so that neighbours are ``LABEL_GAP`` apart and within [low, high]."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    gap = min(LABEL_GAP, (high - low) / max(1, len(wanted) - 1))
    placed = [0.0] * len(wanted)
    floor = low
    for index in order:
        floor = placed[index] = max(wanted[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        ceiling = placed[index] = min(placed[index], ceiling)
        ceiling -= gap
    return placed


def x_axis(frame: Frame, ticks: int, words: str) -> list[str]:
    """Ticks with their numbers, and what they count."""
    bottom = frame.height - frame.bottom
    found = [f'<line class="axis" x1="{frame.left}" y1="{bottom}" x2="{frame.x_end}" y2="{bottom}"/>']
    for value in round_ticks(0, frame.x_max, ticks):
        at = frame.x(value)
        found.append(f'<line class="axis" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 4}"/>')
        found.append(text(at, bottom + 18, f"{value:,.10g}", "tick", "middle"))
    found.append(text(frame.x_end, bottom + 36, words, "tick", "end"))
    return found


def phase_marks(frame: Frame, phases: Sequence[tuple[str, int, int]], named: bool) -> list[str]:
    """A dashed line where each phase but the first starts, with the phases' names where there is room."""
    found = []
    for name, start, end in phases:
        at = frame.x(start)
        if start:
            bottom = frame.height - frame.bottom
            found.append(f'<line class="phase" x1="{at:.1f}" y1="{frame.top - 20}" x2="{at:.1f}" y2="{bottom}"/>')
        room = int((frame.x(end) - at) / 7.0)
        if named and room > 8:
            found.append(text(at + (8 if start else 0), frame.top - 10, shortened(name, room), "phase-name"))
    return found


def drawing(frame: Frame, parts: Sequence[str], title: str) -> str:
    """The finished drawing, described for screen readers."""
    return (
        f'<svg viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
