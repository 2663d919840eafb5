"""The part of the page that shows what the background fits did."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from router_sdk.evaluation.drawing.line_chart import line_chart
from router_sdk.evaluation.drawing.page import html_table

if TYPE_CHECKING:
    from router_sdk.demo.report import Adaptation, DemoReport, FitMark, Latency


def adaptation_sections(report: DemoReport) -> str:
    """Accuracy on old and new sessions, and the fits; nothing where no strategy is fitted."""
    found = report.adaptation
    if found is None or not found.accuracy:
        return ""
    return f"""<div class="pair">
<section>
<h2>What was learnt, and what was forgotten</h2>
<p class="sub">Share of right favourites on sessions that nobody learns from</p>
{line_chart(found.accuracy, "Accuracy on old and new sessions", "tasks routed", share=True)}
</section>
<section>
<h2>How sure the router is</h2>
<p class="sub">Mean confidence of the favourites on the same sessions</p>
{line_chart({"confidence": found.confidence}, "Mean confidence", "tasks routed", share=True)}
</section>
</div>
<section>
<h2>Fits in the background</h2>
<p class="sub">Each candidate is compared with what serves on held-out examples; only what passes serves.</p>
<div class="scroll">{_fits(found.fits)}</div>
{_latencies(found)}
</section>"""


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
    return f'<div class="scroll">{html_table(["route", "calls", "median", "99 %", "slowest"], rows)}</div>'


def _cells(latency: Latency) -> list[str]:
    times = (latency.p50_us, latency.p99_us, latency.slowest_us)
    return [f"{latency.calls:,}", *(f"{time / 1e3:,.1f} ms" for time in times)]
