"""``router soak``: a simulated day in minutes, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation, output_file
from router_sdk.cli.tables import note, pairs, table, visible
from router_sdk.errors import InvalidInputError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.soak import SoakReport


def soak(
    invocation: Invocation,
    hours: Annotated[float, typer.Option(min=0.1, max=1_000.0, metavar="H", help="Simulated hours.")] = 24.0,
    per_hour: Annotated[int, typer.Option(min=10, metavar="N", help="Messages in one, on average.")] = 100,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="The chain, with commas; without it, those of bert, thompson and heuristic that are here.",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the day, and of the router.")] = 0,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where the report is kept.")] = Path("router-soak.json"),
    report_only: Annotated[bool, typer.Option("--report-only", help="Show the report that is kept there.")] = False,
) -> None:
    """Let a router live through a day in minutes, and see whether it is the better for it.

    A support desk whose world changes three times; bad candidates and restarts are planted. The same router, frozen at
    the start, meets the same messages. Exits with 1 unless it earned at least 1 % more, nothing bad got through, and
    no promise was broken. It brings its own agents and a store of its own; no configuration file is read.
    """
    from router_sdk.soak import SoakConfig, SoakReport, run_soak

    if report_only:
        found = SoakReport.read(report)
    else:
        if invocation.config_file is not None or invocation.store is not None:
            raise InvalidInputError("the soak brings its own agents and its own store: leave out --config and --store")
        output_file("--report", report)
        chain = tuple(name.strip() for name in strategies.split(",") if name.strip()) or None
        config = SoakConfig(hours=hours, per_hour=per_hour, seed=seed, strategies=chain)
        with invocation.screen.progress("starting") as tell:
            found = run_soak(config, tell)
        found.write(report)
    invocation.screen.show({**found.to_dict(), "report": str(report)}, lambda: soak_tables(found))
    if not found.success:
        raise typer.Exit(1)


def soak_tables(report: SoakReport) -> Iterator[RenderableType]:
    """What happened when, what was earned in each world, and the verdict."""
    rows = ([f"{one.hour:.1f}", visible(one.what)] for one in report.events)
    yield table("What happened", [">hour", "what"], rows, wide="what")
    yield table(
        f"Mean reward of {counted(report.messages, 'message')}",
        ["", ">frozen", ">learning"],
        [
            *([name, f"{frozen:.3f}", f"{own:.3f}"] for name, (own, frozen) in report.by_phase.items()),
            ["all", f"{report.frozen:.3f}", f"{report.reward:.3f}"],
        ],
    )
    for violation in report.violations:
        yield note(f"broken: {visible(violation)}")
    yield pairs(
        [
            ("improvement", f"{report.improvement:+.1%} (goal +1.0%)"),
            ("fits", f"{report.fits}: {report.promoted} promoted, {report.refused} refused"),
            ("bad candidates", f"{report.stopped} of {report.planted} stopped"),
            ("regressions", str(report.regressions)),
            ("rollbacks", str(report.rollbacks)),
            ("restarts", str(report.restarts)),
            ("violations", str(len(report.violations))),
        ],
        f"{'Passed' if report.success else 'Not passed'}: {report.hours:g} hours in {report.duration_s:.0f} s",
    )
