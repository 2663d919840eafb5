"""``router demo``: the main job in one command."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from router_sdk.cli.commands.exchange import MapOption, mapping_of_data
from router_sdk.cli.invocation import Invocation, output_file
from router_sdk.cli.tables import milliseconds, note, pairs, share, table, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.demo import DemoReport
    from router_sdk.demo.report import ActReport, Comparison
    from router_sdk.demo.serving import ServingReport

_SHOWN = 8
_HEADING_CHARS = 9
_PROCESSES = 2


def demo(
    invocation: Invocation,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Play a JSONL or CSV file of tasks (.gz too) instead of the scenarios."),
    ] = None,
    map_: MapOption = None,
    act: Annotated[
        Literal["support-desk", "marketing-mix", "serving"] | None,
        typer.Option(help="Play one of the scenarios, or how a model gets to serve; without it, all three."),
    ] = None,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="The chain, with commas; without it, those of bert, thompson and heuristic that can serve here.",
        ),
    ] = "",
    rounds: Annotated[
        int | None,
        typer.Option(
            min=20,
            metavar="N",
            help="Messages in each phase of the support desk and sessions of the marketing mix (120), or most tasks of "
            "a file with each seed (1,000).",
        ),
    ] = None,
    strictness: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the marketing mix's second analyst differs, 0 to 1.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random; the first one.")] = 0,
    seeds: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="N", help="How many seeds the support desk or a file is played with."),
    ] = 4,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="How many play beside each other (2, or 1 where there is one processor)."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("router-demo.html"),
) -> None:
    """Play the main job: route, take outcomes as they come, learn, and see whether it helped.

    The chain plays against each of its strategies alone, against itself with learning off, the best single agent,
    chance and the oracle, on the very same tasks: first a support desk whose texts a transformer reads, then a
    marketing mix that is told in numbers. Then one router shows how a model gets to serve: a bad candidate is refused,
    a misled one is caught and rolled back. Ends in tables, losses included, and an HTML page with the curves. The log
    goes into a temporary folder unless --store names a file, which must not exist yet. No configuration file is read.
    """
    from router_sdk.demo import DemoConfig, render_page, run_demo

    if invocation.config_file is not None:
        raise InvalidInputError("--config: the demonstration brings its own agents; use its options instead")
    if act is not None and data is not None:
        raise InvalidInputError("--act: --data plays a file instead of the scenarios; give one of both")
    chosen: dict[str, Any] = {} if rounds is None else {"rounds" if data is None else "max_tasks": rounds}
    if act is not None:
        chosen["scenarios"] = (act,)
    config = DemoConfig(
        data=data,
        mapping=mapping_of_data(map_, data),
        strategies=tuple(name.strip() for name in strategies.split(",") if name.strip()) or None,
        strictness=strictness,
        seed=seed,
        seeds=seeds,
        processes=min(_PROCESSES, os.cpu_count() or 1) if processes is None else processes,
        store=invocation.store,
        **chosen,
    )
    output_file("--out", out)
    with invocation.screen.progress("starting") as tell:
        report = run_demo(config, tell)
    out.write_text(render_page(report), encoding="utf-8")
    invocation.screen.show(
        {**report.to_dict(), "page": str(out)}, lambda: [*demo_tables(report), f"The page with the curves: {out}"]
    )


def demo_tables(report: DemoReport) -> Iterator[RenderableType]:
    """For each act: reward by phase and contestant, the differences, who answered, and what fits changed."""
    found = [(act.title, f"{visible(act.finding)}.") for act in report.acts]
    for act in report.acts:
        yield from _act(act)
    if report.serving is not None:
        yield from _serving(report.serving)
        found.append(("Serving", f"{visible(report.serving.finding)}."))
    for remark in report.notes:
        yield note(remark)
    yield pairs(found, f"What came out, in {report.seconds:.0f} s")


def _act(act: ActReport) -> Iterator[RenderableType]:
    phases = [f">{fill(phase.name, _HEADING_CHARS)}" for phase in act.phases]
    yield table(
        f"{act.title}: {counted(act.tasks, 'task')} with {counted(len(act.seeds), 'seed')}",
        ["mean reward", *phases, ">overall", ">regret"],
        (
            [
                act.label(name),
                *(word(phase.rewards[name]) for phase in act.phases),
                word(act.rewards[name]),
                f"{act.regret[name]:,.0f}",
            ]
            for name in act.ranking
        ),
        wide="mean reward",
    )
    yield from _comparisons(act, phases)
    yield table(
        "Who answered, and who got the task",
        ["", *phases],
        [
            ["router's reward, first fifth", *(word(phase.opening) for phase in act.phases)],
            ["router's reward, last fifth", *(word(phase.closing) for phase in act.phases)],
            *_shares("answered by", [phase.strategies for phase in act.phases]),
            *_shares("given to", [phase.agents for phase in act.phases]),
        ],
        wide="",
    )
    if act.accuracy:
        yield _probes(act)
    if act.retentions:
        told = [(one.verdict, visible(one.sentence)) for one in act.retentions]
        yield pairs(told, "What each phase left of the earlier ones")
    if act.fits:
        yield from _fits(act)
    yield pairs(_figures(act), "Along the way")
    for remark in act.notes:
        yield note(remark)


def _comparisons(act: ActReport, phases: Sequence[str]) -> Iterator[RenderableType]:
    """The router against each other contestant; a loss is printed as a win is."""
    scopes = [phase.name for phase in act.phases]
    several = len(act.seeds) > 1
    rows = []
    for name in act.ranking:
        if name in act.compared:
            overall = act.comparison(name)
            cells = [act.label(name), *(_margin(act.comparison(name, scope)) for scope in scopes), _margin(overall)]
            rows.append([*cells, f"{overall.ahead}/{overall.seeds}"] if several else cells)
    yield table(
        "What the router gains on each of them, per task, with its 95 % interval by session",
        ["gain on", *phases, ">overall", *([">seeds\nahead"] if several else [])],
        rows,
        wide="gain on",
    )
    lost = [("lost", one.sentence) for one in act.comparisons if one.verdict == "lost"]
    yield pairs(lost or [("none", f"of {len(act.comparisons)} comparisons")], "Where the router lost")


def _margin(one: Comparison) -> str:
    """In few characters: five of them, and a name, stand on eighty columns."""
    verdict = "" if one.verdict == "even" else f"{one.verdict} "
    return f"{verdict}{one.difference:+.3f}\n±{(one.high - one.low) / 2.0:.3f}".replace("0.", ".")


def _probes(act: ActReport) -> RenderableType:
    """The probes at the start, half-way and at the end."""
    looks = next(iter(act.accuracy.values()))
    shown = sorted({0, len(looks) // 2, len(looks) - 1})
    return table(
        "The router's accuracy on tasks that nobody learns from",
        ["", *(f">after {looks[i][0]:,}" for i in shown)],
        [
            *([f"as in “{name}”", *(share(points[i][1]) for i in shown)] for name, points in act.accuracy.items()),
            ["mean confidence", *(share(act.confidence[i][1]) for i in shown if i < len(act.confidence))],
        ],
        wide="",
    )


def _fits(act: ActReport) -> Iterator[RenderableType]:
    yield table(
        "What each fit changed",
        ["", ">seed", ">after", ">no.", ">before", ">now", ">held\nout", ">took", "ended"],
        (
            [
                one.contestant,
                word(one.seed),
                f"{one.mark.at:,}",
                word(one.mark.version),
                word(one.mark.before),
                word(one.mark.after),
                word(one.mark.held_out),
                f"{one.mark.seconds:.0f} s",
                one.mark.state,
            ]
            for one in act.fits
        ),
        wide="",
    )
    if act.not_promoted:
        yield pairs((one.mark.state, visible(one.sentence)) for one in act.not_promoted)


def _serving(story: ServingReport) -> Iterator[RenderableType]:
    """The versions, what the tasks earned meanwhile, and what became of each."""
    yield table(
        f"How a model gets to serve: versions of {story.strategy}, seed {story.seed}",
        ["", ">before", ">now", ">held\nout", "the gate", ">served\ntasks", ">earned", "in the end"],
        (
            [
                f"version {word(one.mark.version)}",
                word(one.mark.before),
                word(one.mark.after),
                word(one.mark.held_out),
                one.mark.state,
                word(one.served),
                word(one.earned),
                one.fate,
            ]
            for one in story.candidates
        ),
        wide="",
    )
    yield pairs(("right" if one.as_expected else "wrong", f"{visible(one.sentence)}.") for one in story.candidates)
    yield pairs(
        ((one.name, f"{word(one.reward)} in {counted(one.end - one.start, 'task')}") for one in story.stretches),
        "Reward per task",
    )
    for remark in story.notes:
        yield note(remark)


def _figures(act: ActReport) -> Iterator[tuple[str, str]]:
    yield "Explored", f"{share(act.explored)} of the decisions"
    for name, one in (("Decision", act.idle), ("During fits", act.during_fits)):
        if one is not None:
            times = (milliseconds(time / 1e3) for time in (one.p50_us, one.p99_us, one.slowest_us))
            yield name, "{} median, 99 % within {}, slowest {}".format(*times)
    yield "In the log", _counted(act.events)
    yield "Outcomes", _counted(act.feedback)


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
