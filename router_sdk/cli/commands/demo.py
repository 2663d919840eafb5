"""``router demo``: the main job in one command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.commands.exchange import MapOption, mapping_of_data
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import counted, milliseconds, note, pairs, share, table, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.private_files import may_be_written

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.demo import DemoReport
    from router_sdk.demo.report import Adaptation

_SHOWN = 8
_HEADING_CHARS = 10


def demo(
    invocation: Invocation,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Play a JSONL or CSV file of tasks (.gz too) instead of the scenario."),
    ] = None,
    map_: MapOption = None,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="The chain, with commas; without it, those of bert, thompson and heuristic that can serve here.",
        ),
    ] = "",
    rounds: Annotated[
        int | None,
        typer.Option(min=20, metavar="N", help="Sessions of the scenario (240), or most tasks of a file (10,000)."),
    ] = None,
    strictness: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the scenario's second analyst differs, 0 to 1.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random.")] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("router-demo.html"),
) -> None:
    """Play the main job: route, take outcomes as they come, learn, and see whether it helped.

    Ends in a table (who answered, reward by phase, against the rules alone, the best single agent and the
    oracle) and an HTML page with the learning curve. The log goes into a temporary folder unless --store
    names a file, which must not exist yet. No configuration file is read.
    """
    from router_sdk.demo import DemoConfig, render_page, run_demo

    if invocation.config_file is not None:
        raise InvalidInputError("--config: the demonstration brings its own agents; use its options instead")
    length = {} if rounds is None else {"sessions" if data is None else "max_tasks": rounds}
    config = DemoConfig(
        data=data,
        mapping=mapping_of_data(map_, data),
        strategies=tuple(name.strip() for name in strategies.split(",") if name.strip()) or None,
        strictness=strictness,
        seed=seed,
        store=invocation.store,
        **length,
    )
    _check_writable(may_be_written(out))
    with invocation.screen.progress("starting") as tell:
        report = run_demo(config, tell)
    out.write_text(render_page(report), encoding="utf-8")
    invocation.screen.show(
        {**report.to_dict(), "page": str(out)}, lambda: [*demo_tables(report), f"The page with the curves: {out}"]
    )


def _check_writable(out: Path) -> None:
    """Fail before the minute of work, not after it."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InvalidInputError(f"--out {out}: not a file in a folder that exists")


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
