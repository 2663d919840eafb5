"""``router demo``: the main job in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_sdk.cli.commands.importing import MapOption, mapping_of_data
from router_sdk.cli.demo_tables import demo_tables
from router_sdk.cli.invocation import Invocation
from router_sdk.errors import InvalidInputError


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
    _check_writable(out)
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
