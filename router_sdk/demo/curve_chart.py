"""The learning curve: each contender's moving average of the reward over the stream."""

from __future__ import annotations

from router_sdk.demo.report import BEST_SINGLE, HEURISTIC, ORACLE, RANDOM, ROUTER, DemoReport
from router_sdk.evaluation.drawing.svg import (
    Frame,
    drawing,
    kept_apart,
    path,
    phase_marks,
    round_step,
    round_ticks,
    shortened,
    text,
    x_axis,
)

LINE_CLASSES = {
    RANDOM: "random",
    ORACLE: "oracle",
    BEST_SINGLE: "single",
    HEURISTIC: "heuristic",
    ROUTER: "router",
}
"""Style of each line, in the order in which they are drawn: the router lies on top."""


def learning_curve(report: DemoReport) -> str:
    """Draw the curve as SVG, every line labelled at its end."""
    curve = report.curve
    seen = [value for values in curve.values.values() for value in values]
    low, high = min(seen), max(seen)
    step = round_step(max(high - low, 0.02), 5)
    y_min = max(0.0, step * int(low / step - 0.15))
    y_max = min(1.0, step * (int(high / step + 0.15) + 1))
    frame = Frame(960, 410, 52, 204, 44, 48, max(report.tasks, 1), y_min, y_max)
    parts = [text(frame.left - 8, frame.top - 10, "reward", "tick", "end")]
    for value in round_ticks(y_min, y_max, 6):
        at = frame.y(value)
        parts.append(f'<line class="grid" x1="{frame.left}" y1="{at:.1f}" x2="{frame.x_end}" y2="{at:.1f}"/>')
        parts.append(text(frame.left - 8, at + 4, f"{value:.2f}".rstrip("0").rstrip("."), "tick", "end"))
    parts += x_axis(frame, 8, "tasks routed")
    parts += phase_marks(frame, [(phase.name, phase.start, phase.end) for phase in report.phases], named=True)
    names = [name for name in LINE_CLASSES if name in curve.values]
    for name in names:
        points = [(frame.x(x), frame.y(y)) for x, y in zip(curve.positions, curve.values[name], strict=True)]
        parts.append(f'<path class="line {LINE_CLASSES[name]}" d="{path(points)}"/>')
    ends = [frame.y(curve.values[name][-1]) for name in names]
    for name, end, at in zip(names, ends, kept_apart(ends, frame.top, frame.height - frame.bottom), strict=True):
        kind = LINE_CLASSES[name]
        x = frame.x_end
        parts.append(f'<circle class="end {kind}" cx="{x:.1f}" cy="{end:.1f}" r="3"/>')
        parts.append(f'<path class="leader" d="{path([(x + 5, end), (x + 12, at)])}"/>')
        label = f"{shortened(report.label(name), 24)} {curve.values[name][-1]:.2f}"
        parts.append(text(x + 16, at + 4, label, f"label {kind}"))
    return drawing(frame, parts, f"Moving average of the reward over {curve.window} tasks, by contender")
