"""The report as one self-contained HTML page: inline style and SVG, nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from router_sdk.demo.adaptation_page import adaptation_sections
from router_sdk.demo.curve_chart import LINE_CLASSES, learning_curve
from router_sdk.demo.page_style import STYLE
from router_sdk.demo.report import BEST_SINGLE, HEURISTIC, ORACLE, OTHERS, ROUTER, DemoReport, Series
from router_sdk.demo.shares_chart import shares_chart
from router_sdk.evaluation.drawing.page import figure_list, html_page, html_table

BAND_CLASSES = 7


def render_page(report: DemoReport) -> str:
    """Render the report; the same report gives the same page."""
    phases = [(phase.name, phase.start, phase.end) for phase in report.phases]
    title = f"{report.title}: who should answer, and how the router learnt it"
    return html_page(
        title,
        STYLE,
        f"""<p class="eyebrow">{_eyebrow(report)}</p>
<h1>{escape(headline(report))}</h1>
<p class="lead">{escape(_lead(report))}</p>
{_figures(report)}
<section>
<h2>Reward as the outcomes come back</h2>
<p class="sub">Moving average over {report.curve.window:,} tasks; all contenders meet the same stream.</p>
<div class="scroll">{learning_curve(report)}</div>
</section>
<div class="pair">
<section>
<h2>Who answered</h2>
<p class="sub">Share of tasks that each strategy decided</p>
{shares_chart(report.answered, phases, _classes(report.answered), "Share of tasks by strategy")}
</section>
<section>
<h2>Who got the task</h2>
<p class="sub">Share of tasks that each agent was given</p>
{shares_chart(report.chosen, phases, _classes(report.chosen), "Share of tasks by agent")}
</section>
</div>
<section>
<h2>Reward by phase</h2>
<p class="sub">Mean reward in [0, 1]. Regret is the reward left lying against the oracle, in sum.</p>
<div class="scroll">{_table(report)}</div>
{_verdicts(report)}
</section>
{adaptation_sections(report)}
<section>
<h2>How the outcomes came back</h2>
<p class="sub">Each was joined with its decision and counted once; what never came back is unknown, not a failure.</p>
<div class="scroll">{_row_table(report.feedback, "Decisions whose outcome came")}</div>
</section>
<section class="notes">
<h2>What to know about these numbers</h2>
{"".join(f"<p>{escape(note)}</p>" for note in report.notes)}
</section>""",
    )


def headline(report: DemoReport) -> str:
    """The finding in one line: how the router stood in the last phase, and whether one agent alone was better."""
    last = report.phases[-1]
    verdicts = {(c.contender, c.scope): c.verdict for c in report.comparisons}
    words = {"won": "is ahead of", "lost": "is behind", "even": "does as well as"}[verdicts[HEURISTIC, last.name]]
    rewards = f"reward {last.rewards[ROUTER]:.2f} against {last.rewards[HEURISTIC]:.2f}"
    but = ", but lost to the best single agent" if verdicts[BEST_SINGLE, "overall"] == "lost" else ""
    return f"By the end the router {words} the heuristic: {rewards}{but}"


def _eyebrow(report: DemoReport) -> str:
    parts = (
        f"{report.tasks:,} tasks",
        f"{len(report.agents)} agents",
        f"seed {report.seed}",
        f"{report.seconds:.0f} s",
    )
    return " · ".join(("Router demonstration", *parts))


def _lead(report: DemoReport) -> str:
    verdict = next(c.verdict for c in report.comparisons if c.contender == BEST_SINGLE and c.scope == "overall")
    words = {"won": "beat", "lost": "lost against", "even": "did as well as"}[verdict]
    return (
        f"{report.title}: {report.tasks:,} tasks went to {len(report.agents)} agents, and their outcomes came back "
        f"late, in parts, repeated and corrected. Over the whole stream the router {words} the best single agent, "
        f"{report.single}: reward {report.rewards[ROUTER]:.3f} against {report.rewards[BEST_SINGLE]:.3f}, "
        f"where the oracle has {report.rewards[ORACLE]:.3f}."
    )


def _figures(report: DemoReport) -> str:
    last = report.phases[-1]
    reached = report.rewards[ROUTER] / report.rewards[ORACLE] if report.rewards[ORACLE] else 0.0
    ours, theirs = report.regret[ROUTER], report.regret[HEURISTIC]
    last_hint = f"{last.opening:.2f} at its start, {last.closing:.2f} at its end"
    median = f"{report.route_p50_us:,.0f} <small>µs</small>"
    figures = (
        ("Reward in the last phase", f"{last.rewards[ROUTER]:.2f}", last_hint),
        ("Share of the oracle's reward", f"{reached:.0%}", "over the whole stream"),
        ("Reward gained on the heuristic", f"{theirs - ours:+,.0f}", f"regret {ours:,.0f} instead of {theirs:,.0f}"),
        ("Time of a decision", median, f"median; 99 % within {report.route_p99_us:,.0f} µs"),
    )
    return figure_list(figures)


def _table(report: DemoReport) -> str:
    heads = ["", *(phase.name for phase in report.phases), "overall", "regret"]
    rows = []
    for contender in sorted(report.contenders, key=lambda name: -report.rewards[name]):
        kind = LINE_CLASSES[contender]
        name = f'<span class="key {kind}"></span>{escape(report.label(contender))}'
        means = [*(phase.rewards[contender] for phase in report.phases), report.rewards[contender]]
        cells = [name, *(f"{mean:.3f}" for mean in means), f"{report.regret[contender]:,.0f}"]
        rows.append((kind, cells))
    return html_table(heads, rows)


def _verdicts(report: DemoReport) -> str:
    items = (f'<li><b class="{c.verdict}">{c.verdict}</b>{escape(c.sentence)}</li>' for c in report.comparisons)
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _row_table(counts: Mapping[str, int], name: str) -> str:
    return html_table(["", *counts], [("", [escape(name), *(f"{value:,}" for value in counts.values())])])


def _classes(series: Series) -> dict[str, str]:
    """A colour for each band; the last one is kept for what was folded together."""
    names: Sequence[str] = list(series.values)
    last = BAND_CLASSES - 1
    return {name: f"s{last if name == OTHERS else min(i, last)}" for i, name in enumerate(names)}
