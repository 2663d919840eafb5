"""The report as one self-contained HTML page: nothing from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from string import Template

import numpy as np

from router_sdk.demo.contestant import LEARNING_OFF, ROUTER
from router_sdk.demo.report import (
    BEST_SINGLE,
    ORACLE,
    OTHERS,
    OVERALL,
    RANDOM,
    ActReport,
    Comparison,
    DemoReport,
    Fit,
    Latency,
    Series,
)
from router_sdk.demo.serving import TITLE, Candidate, ServingReport
from router_sdk.demo.summary import moving_averages
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

COLOUR = {RANDOM: "random", ORACLE: "oracle", BEST_SINGLE: "single", LEARNING_OFF: "off", ROUTER: "router"}
"""Of each contestant but the strategies alone, in the order in which they are drawn: the router lies on top."""
ALONE_COLOURS = 4
"""From ``m0`` on."""
STORY_TASKS = 20
"""Tasks behind a point of the curve of a single router: few, since it tells of stretches as short as that."""
VERDICT = {"won": "gain", "lost": "loss", "even": "same"}
"""Classes of the style sheet."""


def render_page(report: DemoReport) -> str:
    """Render the report; the same report gives the same page."""
    body = _filled(
        "page.html",
        eyebrow=" · ".join(("Router demonstration", " → ".join(map(escape, report.chain)), f"{report.seconds:.0f} s")),
        headline=escape(headline(report)),
        lead=escape(_lead(report)),
        acts="".join(_sections(report)),
        notes=_paragraphs(report.notes),
    )
    first = report.acts[0].title if report.acts else TITLE
    title = f"{first}: who should answer, and how the router learnt it"
    return html_page(title, body, page_file("page.css", __package__))


def headline(report: DemoReport) -> str:
    """What learning brought in the first act, and whether a part of the chain was better than the whole."""
    if not report.acts:
        return TITLE
    act = report.acts[0]
    off = act.comparison(LEARNING_OFF)
    words = {
        "won": f"Learning pays: {off.difference:+.3f} reward per task",
        "lost": f"Learning does not pay: {off.difference:+.3f} reward per task",
        "even": f"Learning makes no difference that can be told: {off.difference:+.3f} reward per task",
    }[off.verdict]
    better = [name for name in act.ranking if name in _alone(act) and act.comparison(name).verdict == "lost"]
    if act.comparison(BEST_SINGLE).verdict == "lost":
        better.append(act.label(BEST_SINGLE))
    return f"{words}, but the router lost to {' and '.join(better)}" if better else words


def _lead(report: DemoReport) -> str:
    """What was played, and the balance of all comparisons."""
    story = "" if report.serving is None else f"{report.serving.finding}."
    if not report.acts:
        return "Three versions of one strategy, and what stands between each of them and the requests."
    verdicts = Counter(one.verdict for act in report.acts for one in act.comparisons)
    alone = "each of its strategies alone, " if _alone(report.acts[0]) else ""
    return (
        f"The chain of {', '.join(report.chain)} met the same tasks as {alone}itself with learning off, the best "
        f"single agent, chance and an oracle. Of {verdicts.total()} comparisons, one for each of them and each phase, "
        f"it won {verdicts['won']}, lost {verdicts['lost']}, and {verdicts['even']} are even. {story}"
    ).rstrip()


def _sections(report: DemoReport) -> Iterator[str]:
    """The acts, in order."""
    count = len(report.acts) + (report.serving is not None)
    for number, act in enumerate(report.acts, start=1):
        yield _act(act, _place(number, count))
    if report.serving is not None:
        yield _serving(report.serving, _place(count, count))


def _place(number: int, count: int) -> str:
    return f"Act {number} of {count}" if count > 1 else "One act"


def _filled(template: str, **parts: str) -> str:
    return Template(page_file(template, __package__)).substitute(parts)


def _paragraphs(notes: tuple[str, ...]) -> str:
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _act(act: ActReport, place: str) -> str:
    seeds = f"{len(act.seeds)} seed{'s' if len(act.seeds) > 1 else ''}"
    parts = (f"{act.tasks:,} tasks with {seeds}", f"{act.sessions:,} sessions", f"{len(act.agents)} agents")
    return _filled(
        "act.html",
        eyebrow=" · ".join((place, *parts)),
        title=escape(act.title),
        finding=f"{escape(act.finding)}.",
        figures=_figures(act),
        window=f"{act.curve.window:,}",
        curve=_curve(act),
        rewards=_rewards(act),
        comparisons=_comparisons(act),
        lost=_lost(act),
        answered=_shares(act, act.answered, "Share of tasks by strategy"),
        chosen=_shares(act, act.chosen, "Share of tasks by agent"),
        probes=_probes(act),
        fits=_fits(act),
        latencies=_latencies(act),
        feedback=_row_table(act.feedback, "Decisions whose outcome came"),
        notes=_paragraphs(act.notes),
    )


def _figures(act: ActReport) -> str:
    last, reached = act.phases[-1], act.rewards[ROUTER] / act.rewards[ORACLE] if act.rewards[ORACLE] else 0.0
    figures = [
        (
            "Share of the oracle's reward",
            f"{reached:.0%}",
            f"{last.opening:.2f} at the last phase's start, {last.closing:.2f} at its end",
        ),
        ("Gain on learning off", _margin(act.comparison(LEARNING_OFF)), "reward per task, overall"),
    ]
    if act.best_member is not None:
        figures.append(
            (f"Gain on {act.best_member}", _margin(act.comparison(act.best_member)), "its best member, overall")
        )
    if (latency := act.idle or act.during_fits) is not None:
        hint = f"median; 99 % within {latency.p99_us / 1e3:,.1f} ms"
        figures.append(("Time of a decision", f"{latency.p50_us / 1e3:,.1f} <small>ms</small>", hint))
    return figure_list(figures)


def _margin(one: Comparison) -> str:
    half = (one.high - one.low) / 2.0
    return f'<span class="{VERDICT[one.verdict]}">{one.difference:+.3f}</span> <small>±{half:.3f}</small>'


def _alone(act: ActReport) -> list[str]:
    """The strategies alone, in the order of the chain."""
    return [name for name in act.contestants if name not in COLOUR]


def _colours(act: ActReport) -> dict[str, str]:
    """Of every contestant, in the order in which they are drawn."""
    alone = {name: f"m{number % ALONE_COLOURS}" for number, name in enumerate(_alone(act))}
    below = {name: COLOUR[name] for name in (RANDOM, ORACLE, BEST_SINGLE)}
    return {**below, **alone, LEARNING_OFF: COLOUR[LEARNING_OFF], ROUTER: COLOUR[ROUTER]}


def _curve(act: ActReport) -> str:
    """Each contestant's moving average of the reward."""
    lines = [
        Line(
            act.label(name),
            act.curve.values[name],
            colour,
            width=3.0 if name == ROUTER else 1.8,
            dash=name in (ORACLE, LEARNING_OFF),
        )
        for name, colour in _colours(act).items()
    ]
    title = f"{act.title}: moving average of the reward over {act.curve.window} tasks, by contestant"
    return chart(title, "tasks routed", act.curve.positions, lines, unit="unit", phases=_phases(act), height=380)


def _shares(act: ActReport, series: Series, title: str) -> str:
    """How the stream was shared out, the largest at the bottom."""
    last = COLOURS - 1
    bands = [
        Line(name, (values[0], *values), f"s{last if name == OTHERS else min(number, last)}")
        for number, (name, values) in enumerate(series.values.items())
    ]
    edges = [0, *series.positions]
    return chart(title, "tasks routed", edges, bands, unit="percent", stacked=True, phases=_phases(act))


def _phases(act: ActReport) -> list[tuple[str, float, float]]:
    return [(phase.name, phase.start, phase.end) for phase in act.phases]


def _named(act: ActReport, name: str) -> str:
    return f'<span class="key {_colours(act)[name]}"></span>{escape(act.label(name))}'


def _rewards(act: ActReport) -> str:
    rows = []
    for name in act.ranking:
        means = [*(phase.rewards[name] for phase in act.phases), act.rewards[name]]
        cells = [_named(act, name), *(f"{mean:.3f}" for mean in means), f"{act.regret[name]:,.0f}"]
        rows.append((_colours(act)[name], cells))
    return html_table(["", *(phase.name for phase in act.phases), OVERALL, "regret"], rows)


def _comparisons(act: ActReport) -> str:
    scopes = [*(phase.name for phase in act.phases), OVERALL]
    several = len(act.seeds) > 1
    rows = []
    for name in act.ranking:
        if name not in act.compared:
            continue
        overall = act.comparison(name)
        cells = [_named(act, name), *(_margin(act.comparison(name, scope)) for scope in scopes)]
        rows.append(("", [*cells, f"{overall.ahead} of {overall.seeds}"] if several else cells))
    return html_table(["", *scopes, *(["seeds ahead"] if several else [])], rows)


def _lost(act: ActReport) -> str:
    """Where the router lost, in words."""
    lost = [one for one in act.comparisons if one.verdict == "lost"]
    if not lost:
        return f'<p class="sub">None of the {len(act.comparisons)} comparisons was lost.</p>'
    return verdict_list((one.verdict, one.sentence) for one in lost)


def _probes(act: ActReport) -> str:
    """Accuracy on old and new tasks; nothing where the stream has none to ask about."""
    if not act.accuracy:
        return ""
    title = f"{act.title}: accuracy on tasks that nobody learns from"
    return _filled(
        "probes.html",
        accuracy=curve_chart(act.accuracy, title, "tasks routed", unit="percent"),
        confidence=curve_chart({"confidence": act.confidence}, "Mean confidence", "tasks routed", unit="percent"),
        retentions=_retentions(act),
    )


def _retentions(act: ActReport) -> str:
    """What each phase left of the earlier ones, in words; nothing where there is no earlier one to ask about."""
    if not act.retentions:
        return ""
    told = verdict_list((one.verdict, one.sentence) for one in act.retentions)
    return f"<section><h3>What each phase left of the earlier ones</h3>{told}</section>"


def _fits(act: ActReport) -> str:
    """What each fit changed, and why some did not come to serve."""
    if not act.fits:
        return ""
    heads = ["", "seed", "after tasks", "started by", "version", "before", "now", "judged by", "took", "ended"]
    return _filled(
        "fits.html",
        fits=html_table(heads, (("", _fit(fit)) for fit in act.fits)),
        not_promoted=verdict_list((fit.mark.state, fit.sentence) for fit in act.not_promoted),
    )


def _fit(fit: Fit) -> list[str]:
    mark = fit.mark
    return [
        escape(fit.contestant),
        str(fit.seed),
        f"{mark.at:,}",
        escape(mark.reason),
        "-" if mark.version is None else str(mark.version),
        "-" if mark.before is None else f"{mark.before:.3f}",
        "-" if mark.after is None else f"{mark.after:.3f}",
        f"{mark.held_out:,}",
        f"{mark.seconds:.0f} s",
        escape(mark.state),
    ]


def _serving(story: ServingReport, place: str) -> str:
    """How a model gets to serve."""
    series = moving_averages({ROUTER: np.array(story.rewards)}, curve_tasks=STORY_TASKS)
    curve = [Line("reward", series.values[ROUTER], COLOUR[ROUTER], width=3.0)]
    stretches = [(one.name, one.start, one.end) for one in story.stretches]
    parts = (f"{len(story.rewards):,} tasks", f"versions of {story.strategy}", f"seed {story.seed}")
    return _filled(
        "serving.html",
        eyebrow=escape(" · ".join((place, *parts))),
        title=TITLE,
        finding=f"{escape(story.finding)}.",
        figures=figure_list(
            (one.name, f"{one.reward:.2f}", f"reward per task, {one.end - one.start} tasks") for one in story.stretches
        ),
        window=f"{series.window:,}",
        curve=chart(TITLE, "tasks routed", series.positions, curve, unit="unit", phases=stretches),
        versions=html_table(
            ["", "before", "now", "held out", "the gate", "served tasks", "earned", "in the end"],
            (("", _version(one)) for one in story.candidates),
        ),
        verdicts=verdict_list(
            ("right" if one.as_expected else "wrong", f"{one.sentence}.") for one in story.candidates
        ),
        notes=_paragraphs(story.notes),
    )


def _version(one: Candidate) -> list[str]:
    mark = one.mark
    return [
        "-" if mark.version is None else f"version {mark.version}",
        "-" if mark.before is None else f"{mark.before:.3f}",
        "-" if mark.after is None else f"{mark.after:.3f}",
        f"{mark.held_out:,}",
        escape(mark.state),
        f"{one.served:,}",
        "-" if one.earned is None else f"{one.earned:.3f}",
        escape(one.fate),
    ]


def _latencies(act: ActReport) -> str:
    named = (("route, while no fit ran", act.idle), ("route, during fits", act.during_fits))
    rows = [("", [name, *_cells(latency)]) for name, latency in named if latency is not None]
    return html_table(["", "calls", "median", "99 %", "slowest"], rows)


def _cells(latency: Latency) -> list[str]:
    times = (latency.p50_us, latency.p99_us, latency.slowest_us)
    return [f"{latency.calls:,}", *(f"{time / 1e3:,.1f} ms" for time in times)]


def _row_table(counts: Mapping[str, int], name: str) -> str:
    return html_table(["", *counts], [("", [escape(name), *(f"{value:,}" for value in counts.values())])])
