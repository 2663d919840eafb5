"""The report as one self-contained HTML page: nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from router_sdk.demo.report import (
    BEST_SINGLE,
    HEURISTIC,
    ORACLE,
    OTHERS,
    RANDOM,
    ROUTER,
    Adaptation,
    DemoReport,
    FitMark,
    Latency,
    Series,
)
from router_sdk.pages.page import (
    COLOURS,
    Line,
    chart,
    curve_chart,
    figure_list,
    html_page,
    html_table,
    page_file,
    verdict_list,
)

CONTENDERS = {RANDOM: "random", ORACLE: "oracle", BEST_SINGLE: "single", HEURISTIC: "heuristic", ROUTER: "router"}
"""Colour of each contender, in the order in which they are drawn: the router lies on top."""


def render_page(report: DemoReport) -> str:
    """Render the report; the same report gives the same page."""
    body = Template(page_file("page.html", __package__)).substitute(
        eyebrow=_eyebrow(report),
        headline=escape(headline(report)),
        lead=escape(_lead(report)),
        figures=_figures(report),
        window=f"{report.curve.window:,}",
        curve=_curve(report),
        answered=_shares(report, report.answered, "Share of tasks by strategy"),
        chosen=_shares(report, report.chosen, "Share of tasks by agent"),
        rewards=_table(report),
        verdicts=verdict_list((c.verdict, c.sentence) for c in report.comparisons),
        adaptation=_adaptation(report.adaptation),
        feedback=_row_table(report.feedback, "Decisions whose outcome came"),
        notes="".join(f"<p>{escape(note)}</p>" for note in report.notes),
    )
    title = f"{report.title}: who should answer, and how the router learnt it"
    return html_page(title, body, page_file("page.css", __package__))


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


def _curve(report: DemoReport) -> str:
    """Each contender's moving average of the reward."""
    curve = report.curve
    lines = [
        Line(
            report.label(name),
            curve.values[name],
            kind,
            width=3.0 if name == ROUTER else 1.8,
            dash=name == ORACLE,
        )
        for name, kind in CONTENDERS.items()
        if name in curve.values
    ]
    title = f"Moving average of the reward over {curve.window} tasks, by contender"
    return chart(title, "tasks routed", curve.positions, lines, unit="unit", phases=_phases(report), height=380)


def _shares(report: DemoReport, series: Series, title: str) -> str:
    """How the stream was shared out, the largest at the bottom."""
    last = COLOURS - 1
    bands = [
        Line(name, (values[0], *values), f"s{last if name == OTHERS else min(number, last)}")
        for number, (name, values) in enumerate(series.values.items())
    ]
    edges = [0, *series.positions]
    return chart(title, "tasks routed", edges, bands, unit="percent", stacked=True, phases=_phases(report))


def _phases(report: DemoReport) -> list[tuple[str, float, float]]:
    return [(phase.name, phase.start, phase.end) for phase in report.phases]


def _table(report: DemoReport) -> str:
    heads = ["", *(phase.name for phase in report.phases), "overall", "regret"]
    rows = []
    for contender in sorted(report.contenders, key=lambda name: -report.rewards[name]):
        kind = CONTENDERS[contender]
        name = f'<span class="key {kind}"></span>{escape(report.label(contender))}'
        means = [*(phase.rewards[contender] for phase in report.phases), report.rewards[contender]]
        cells = [name, *(f"{mean:.3f}" for mean in means), f"{report.regret[contender]:,.0f}"]
        rows.append((kind, cells))
    return html_table(heads, rows)


def _row_table(counts: Mapping[str, int], name: str) -> str:
    return html_table(["", *counts], [("", [escape(name), *(f"{value:,}" for value in counts.values())])])


def _adaptation(found: Adaptation | None) -> str:
    """Accuracy on old and new sessions, and the fits; nothing where no strategy is fitted."""
    if found is None or not found.accuracy:
        return ""
    return Template(page_file("adaptation.html", __package__)).substitute(
        accuracy=curve_chart(found.accuracy, "Accuracy on old and new sessions", "tasks routed", unit="percent"),
        confidence=curve_chart({"confidence": found.confidence}, "Mean confidence", "tasks routed", unit="percent"),
        fits=_fits(found.fits),
        latencies=_latencies(found),
    )


def _fits(fits: Sequence[FitMark]) -> str:
    rows = [
        (
            "",
            [
                f"{fit.at:,}",
                escape(fit.reason),
                "" if fit.version is None else str(fit.version),
                f"{fit.seconds:.0f} s",
                escape(fit.state),
                f'<span class="words">{escape(fit.words)}</span>',
            ],
        )
        for fit in fits
    ]
    return html_table(["after tasks", "started by", "version", "took", "ended", "the gate"], rows)


def _latencies(found: Adaptation) -> str:
    named = (("while no fit ran", found.idle), ("during fits", found.during_fits))
    rows = [("", [name, *_cells(latency)]) for name, latency in named if latency is not None]
    return html_table(["route", "calls", "median", "99 %", "slowest"], rows)


def _cells(latency: Latency) -> list[str]:
    times = (latency.p50_us, latency.p99_us, latency.slowest_us)
    return [f"{latency.calls:,}", *(f"{time / 1e3:,.1f} ms" for time in times)]
