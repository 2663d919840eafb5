"""An experiment's report as one self-contained HTML page; its headline serves the command line as well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.experiments.units import HOUR_S
from router_sdk.pages.page import Line, chart, figure_list, html_page, html_table
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from router_sdk.evaluation.intervals import Interval
    from router_sdk.experiments.analysis import Analysis
    from router_sdk.experiments.comparison import ArmFigures, Comparison
    from router_sdk.experiments.guardrails import Guardrail

UNKNOWN = "—"
NOBODY = "no agent fits"
_POINTS = 100.0
"""Differences are shown in hundredths of what a metric can be."""
_TOO_WIDE = 6.0
"""A sequence is drawn from where it is no wider any more than so many times what it is in the end."""


def headline(name: str, analysis: Analysis) -> str:
    """The verdict in one line.

    Args:
        name: The experiment's.
        analysis: As it stands.
    """
    verdict, champion = analysis.verdict, analysis.arms[0].name
    if verdict.decided == "challenger":
        return f"{name}: {verdict.arm} is better than {champion}"
    return {
        "champion": f"{name}: {champion} stays, no challenger is better",
        "no winner": f"{name}: ended without a winner",
        "invalid": f"{name}: cannot be judged",
        "running": f"{name}: not decided yet",
        "stopped": f"{name}: stopped" + ("" if verdict.arm is None else f", {verdict.arm} serves"),
    }[verdict.decided]


def outlook(analysis: Analysis) -> str:
    """How long it may still take, or nothing once it is decided."""
    said = []
    for comparison in analysis.comparisons:
        remaining = comparison.remaining
        if remaining is None:
            continue
        hours = remaining.hours
        wait = counted(math.ceil(hours), "hour") if math.isfinite(hours) else "no time that can be told"
        units = counted(remaining.units, "more unit")
        said.append(f"{comparison.arm} may take {units} and {wait}, at {remaining.assumption}.")
    return " ".join(said)


def render_experiment(name: str, analysis: Analysis) -> str:
    """Render the report; the same analysis gives the same page.

    Args:
        name: The experiment's.
        analysis: As it stands.
    """
    hours = (analysis.now - analysis.started_at) / HOUR_S
    closed = sum(arm.closed for arm in analysis.arms)
    verdict = analysis.verdict
    lost = [f"{arm}: {why}" for arm, why in verdict.lost.items() if verdict.decided != "champion"]
    units = counted(closed, "closed unit")
    notes = [*lost, outlook(analysis), *analysis.notes]
    parts = [
        f'<p class="eyebrow">{escape(f"Experiment report · {hours:,.0f} hours · {units}")}</p>',
        f"<h1>{escape(headline(name, analysis))}</h1>",
        f'<p class="lead">{escape(verdict.reason)}</p>',
        figure_list(_figures(analysis)),
        _section("Notes", "", "".join(f'<p class="sub">{escape(note)}</p>' for note in notes if note)),
        *(
            _section(f"{one.arm} against {analysis.arms[0].name}, over time", _OVER_TIME, _sequence(one, analysis))
            for one in analysis.comparisons
        ),
        _section("Arms", "Means by arm, each with what holds at all looks at once.", _arms(analysis)),
        _section("Metric by metric, task type by task type", _DIFFERENCES, _differences(analysis)),
        _section("Guardrails", _GUARDRAILS, _guardrails(analysis)),
        _section("Who was chosen", "Share of each arm's decisions.", _agents(analysis)),
        _section("Units by arm", _RATIO, _ratio(analysis)),
    ]
    return html_page(headline(name, analysis), "\n".join(filter(None, parts)))


_OVER_TIME = (
    "Difference of the weighted mean, in hundredths. The true one lies, most likely, between the dashed lines; they "
    "hold at all looks at once, so that it may be decided as soon as both lie on one side of 0."
)
_DIFFERENCES = "Challenger less champion, in hundredths; quality by the type of task."
_GUARDRAILS = "What a challenger must not do worse; raised once the difference surely lies beyond what is tolerated."
_RATIO = "Units that came to each arm, against the shares that were configured."


def _section(title: str, about: str, content: str) -> str:
    told = f'<p class="sub">{escape(about)}</p>' if about else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>" if content else ""


def _figures(analysis: Analysis) -> Iterator[tuple[str, str, str]]:
    leader = max(analysis.comparisons, key=lambda one: one.difference.mean)
    gain = UNKNOWN if leader.improvement is None else f"{leader.improvement:+.1%}"
    counts = ", ".join(f"{arm.closed:,} {arm.name}" for arm in analysis.arms)
    raised = sum(rail.state == "raised" for one in analysis.comparisons for rail in one.guardrails)
    yield f"Difference, {leader.arm}", _signed(leader.difference), f"{_bounds(leader.difference)} hundredths"
    yield "Of the champion's mean", gain, "where that is high enough"
    yield "Closed units", f"{sum(arm.closed for arm in analysis.arms):,}", counts
    yield "Guardrails raised", str(raised), f"of {sum(len(one.guardrails) for one in analysis.comparisons)}"


def _sequence(comparison: Comparison, analysis: Analysis) -> str:
    path = comparison.path
    width = path.high - path.low
    if not width.size:
        return ""
    wide = np.flatnonzero(width > _TOO_WIDE * width[-1])
    drawn = slice(int(wide[-1]) + 1 if wide.size else 0, None)
    positions = ((path.at[drawn] - analysis.started_at) / HOUR_S).tolist()
    lines = [
        Line("highest", (_POINTS * path.high[drawn]).tolist(), "s5", 1.2, dash=True),
        Line("estimate", (_POINTS * path.mean[drawn]).tolist(), "s0", 2.2),
        Line("lowest", (_POINTS * path.low[drawn]).tolist(), "s5", 1.2, dash=True),
        Line("no difference", [0.0] * len(positions), "s6", 1.0),
    ]
    return chart(f"Difference of {comparison.arm} over time", "hours", positions, lines, unit="difference")


def _arms(analysis: Analysis) -> str:
    names = list(analysis.weights)
    rows = []
    for arm in analysis.arms:
        reported = UNKNOWN if arm.reported is None else f"{arm.reported:.1%}"
        means = [_mean(arm.mean), *(_mean(arm.metrics[name]) for name in names)]
        rows.append(("", [escape(arm.name), f"{arm.assigned:,}", f"{arm.closed:,}", reported, *means]))
    heads = [f"{name}, {weight:.0%}" for name, weight in analysis.weights.items()]
    return html_table(["", "units", "closed", "with outcomes", "weighted mean", *heads], rows)


def _differences(analysis: Analysis) -> str:
    rows = []
    for one in analysis.comparisons:
        told = {name: gap for name, gap in one.metrics.items() if any(arm.reports[name] for arm in analysis.arms)}
        told |= {f"quality, {name or 'without a type'}": gap for name, gap in one.task_types.items()}
        rows += [("", [_about(one, name, analysis), _coloured(gap), _bounds(gap)]) for name, gap in told.items()]
    return html_table(["", "difference", "most likely"], rows) if rows else ""


def _guardrails(analysis: Analysis) -> str:
    rows = []
    for one in analysis.comparisons:
        for rail in one.guardrails:
            tolerated = f"{'±' if rail.kind == 'reported' else '-'}{_POINTS * rail.tolerance:g}"
            units = " · ".join(f"{count:,}" for count in rail.units)
            gap = [_signed(rail.difference), _bounds(rail.difference)]
            rows.append(("", [_about(one, str(rail), analysis), *gap, tolerated, units, _state(rail)]))
    return html_table(["", "difference", "most likely", "tolerated", "units of each", ""], rows) if rows else ""


def _about(comparison: Comparison, what: str, analysis: Analysis) -> str:
    return escape(what if len(analysis.comparisons) == 1 else f"{comparison.arm}: {what}")


def _state(rail: Guardrail) -> str:
    return f'<span class="{"loss" if rail.state == "raised" else "same"}">{rail.state}</span>'


def _agents(analysis: Analysis) -> str:
    agents = dict.fromkeys(agent for arm in analysis.arms for agent in arm.agents)
    if not agents:
        return ""
    rows = [
        ("", [escape(NOBODY if agent is None else agent), *(_share(arm, agent) for arm in analysis.arms)])
        for agent in sorted(agents, key=lambda agent: (agent is None, agent or ""))
    ]
    return html_table(["", *(arm.name for arm in analysis.arms)], rows)


def _share(arm: ArmFigures, agent: str | None) -> str:
    count = arm.agents.get(agent, 0)
    whole = sum(arm.agents.values())
    return f"{count / whole:.1%} <small>{count:,}</small>" if whole else UNKNOWN


def _ratio(analysis: Analysis) -> str:
    ratio = analysis.sample_ratio
    rows = [
        ("", [escape(arm.name), f"{count:,}", f"{wanted:,.0f}"])
        for arm, count, wanted in zip(analysis.arms, ratio.observed, ratio.expected, strict=True)
    ]
    word = '<span class="gain">as configured</span>' if ratio.right else '<span class="loss">not as configured</span>'
    return html_table(["", "came", "expected"], [*rows, ("", [word, f"p = {ratio.p_value:.2g}", ""])])


def _mean(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return UNKNOWN
    return f"{interval.mean:.3f} <small>{max(interval.low, 0.0):.3f} to {min(interval.high, 1.0):.3f}</small>"


def _signed(interval: Interval) -> str:
    return f"{_POINTS * interval.mean:+.1f}" if math.isfinite(interval.low) else UNKNOWN


def _coloured(interval: Interval) -> str:
    kind = "gain" if interval.low > 0.0 else "loss" if interval.high < 0.0 else "same"
    return f'<span class="{kind}">{_signed(interval)}</span>'


def _bounds(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return UNKNOWN
    low, high = max(interval.low, -1.0), min(interval.high, 1.0)
    return f"{_POINTS * low:+.1f} to {_POINTS * high:+.1f}"
