"""The demonstration's report as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from router_sdk.cli.tables import counted, milliseconds, note, pairs, share, table, visible, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.demo import DemoReport
    from router_sdk.demo.report import Adaptation

_SHOWN = 8
_HEADING_CHARS = 10


def demo_tables(report: DemoReport) -> Iterator[RenderableType]:
    """Reward by phase and contender, who answered, and what it means."""
    phases = [f">{fill(phase.name, _HEADING_CHARS)}" for phase in report.phases]
    yield table(
        f"{report.title}: {counted(report.tasks, 'task')}, {report.seconds:.0f} s",
        ["mean reward", *phases, ">overall", ">regret"],
        (
            [
                report.label(name),
                *(word(phase.rewards[name]) for phase in report.phases),
                word(report.rewards[name]),
                f"{report.regret[name]:,.0f}",
            ]
            for name in sorted(report.contenders, key=lambda name: -report.rewards[name])
        ),
        wide="mean reward",
    )
    yield table(
        "Who answered, and who got the task",
        ["", *phases],
        [
            ["router's reward, first fifth", *(word(phase.opening) for phase in report.phases)],
            ["router's reward, last fifth", *(word(phase.closing) for phase in report.phases)],
            *_shares("answered by", [phase.strategies for phase in report.phases]),
            *_shares("given to", [phase.agents for phase in report.phases]),
        ],
    )
    if report.adaptation is not None and report.adaptation.accuracy:
        yield from _adaptation(report.adaptation)
    yield pairs(_figures(report), "Along the way")
    yield pairs(((item.verdict, item.sentence) for item in report.comparisons), "What came out")
    for remark in report.notes:
        yield note(remark)


def _adaptation(found: Adaptation) -> Iterator[RenderableType]:
    """The probes at the start, in the middle and at the end; the fits; their cost in time."""
    looks = next(iter(found.accuracy.values()))
    shown = sorted({0, len(looks) // 2, len(looks) - 1})
    yield table(
        "Accuracy on sessions that nobody learns from",
        ["", *(f">after {looks[i][0]:,}" for i in shown)],
        [
            *([name, *(share(points[i][1]) for i in shown)] for name, points in found.accuracy.items()),
            ["mean confidence", *(share(found.confidence[i][1]) for i in shown if i < len(found.confidence))],
        ],
    )
    yield table(
        "Fits in the background",
        [">after", "ended", ">version", ">took", "the gate"],
        (
            [f"{fit.at:,}", fit.state, word(fit.version), f"{fit.seconds:.0f} s", visible(fit.words)]
            for fit in found.fits
        ),
        wide="the gate",
    )
    named = (("while no fit ran", found.idle), ("during fits", found.during_fits))
    yield table(
        "Time of a decision",
        ["", ">calls", ">median", ">99 %", ">slowest"],
        (
            [name, word(one.calls), *(milliseconds(time / 1e3) for time in (one.p50_us, one.p99_us, one.slowest_us))]
            for name, one in named
            if one is not None
        ),
    )


def _figures(report: DemoReport) -> list[tuple[str, str]]:
    return [
        ("Explored", f"{share(report.explored)} of the decisions"),
        ("Decision", f"{report.route_p50_us:,.0f} µs median, 99 % within {report.route_p99_us:,.0f} µs"),
        ("In the log", _counted(report.events)),
        ("Outcomes", _counted(report.feedback)),
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _shares(words: str, phases: Sequence[Mapping[str, float]]) -> Iterator[list[str]]:
    """A row for each name with its share in each phase, the biggest first."""
    totals = Counter[str]()
    for shares in phases:
        totals.update(shares)
    for name, _ in totals.most_common(_SHOWN):
        yield [f"{words} {visible(name)}", *(share(shares.get(name, 0.0)) for shares in phases)]
    if len(totals) > _SHOWN:
        yield [f"{words} {len(totals) - _SHOWN} others", *("" for _ in phases)]
