"""``router experiments``: challengers beside what serves, and how they do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.experiment_tables import experiment_details, experiment_list, shown_experiment
from router_sdk.cli.invocation import ActorOption, Invocation, command, readable, typed_pairs
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from router_sdk.experiments.arms import Arm

app = typer.Typer(no_args_is_help=True, help="Compare challengers with what serves, on real tasks.")

NameArgument = Annotated[str, typer.Argument(help="The experiment.")]


@app.command("start")
@command
def start(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="What it is called from now on: letters, digits, '_' and '-'.")],
    arms: Annotated[
        str | None,
        typer.Option("--arms", metavar="FILE", help="Challengers and settings, in TOML or JSON."),
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option("--version", metavar="NAME:N", help="Challenger: what serves, with this version; several times."),
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategies", metavar="A,B,…", help="A challenger: another chain; several times."),
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="They propose only, and are logged.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="They learn nothing from now on.")] = False,
    share_: Annotated[
        float | None, typer.Option("--share", metavar="0..1", help="What each challenger gets of the units.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as min_duration_hours=24; several times."),
    ] = None,
    actor: ActorOption = None,
) -> None:
    """Let challengers serve a part of the tasks. Routers that have the store open follow within two seconds."""
    challengers, settings = _challengers(arms, version or (), strategies or (), shadow=shadow, frozen=frozen)
    settings |= typed_pairs(set_ or (), "--set")
    if share_ is not None:
        settings["challenger_share"] = share_
    with invocation.router(new=False) as router:
        router.experiments.start(name, challengers, actor=actor, **settings)
        told = router.experiments.show(name)
    invocation.screen.show(told, lambda: shown_experiment(told))


@app.command("list")
@command
def list_experiments(invocation: Invocation) -> None:
    """Show all experiments, the oldest first."""
    with invocation.router(new=False, read_only=True) as router:
        found = [one.to_dict() for one in router.experiments.list()]
    invocation.screen.show({"experiments": found}, lambda: experiment_list(found))


@app.command("show")
@command
def show(invocation: Invocation, name: NameArgument) -> None:
    """Show an experiment: its arms, what they came to, over time and in detail, and what is still needed."""
    with invocation.router(new=False, read_only=True) as router:
        told = {**router.experiments.show(name), "sequences": router.experiments.sequences(name)}
    invocation.screen.show(told, lambda: (*shown_experiment(told), *experiment_details(told)))


@app.command("stop")
@command
def stop(
    invocation: Invocation,
    name: NameArgument,
    winner: Annotated[
        str | None, typer.Option("--winner", metavar="ARM", help="The challenger that serves from now on.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")] = "by hand",
    actor: ActorOption = None,
) -> None:
    """End an experiment; the champion serves all again, or the winner that is named."""
    with invocation.router(new=False) as router:
        router.experiments.stop(name, winner, reason=reason, actor=actor)
        told = router.experiments.show(name)
    invocation.screen.show(told, lambda: shown_experiment(told))


@app.command("report")
@command
def report(
    invocation: Invocation,
    name: NameArgument,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes.")] = None,
) -> None:
    """Write a page about an experiment: its sequences over time, its arms, its guardrails."""
    with invocation.router(new=False, read_only=True) as router:
        page = router.experiments.report(name, out or Path(f"experiment-{name}.html"))
        told = router.experiments.show(name)
    invocation.screen.show({**told, "page": str(page)}, lambda: [f"The page: {page}"])


def _challengers(
    file: str | None, versions: Sequence[str], chains: Sequence[str], *, shadow: bool, frozen: bool
) -> tuple[list[Arm], dict[str, Any]]:
    from router_sdk.experiments.arms import Arm, read_arms

    found, settings = ([], {}) if file is None else read_arms(Path(readable(file)))
    how = {"shadow": shadow, "learning": not frozen}
    for told in versions:
        strategy, separator, number = told.partition(":")
        if not separator or not number.isdecimal():
            raise InvalidInputError(f"--version {told!r:.60}: expected a strategy and a number, such as bert:7")
        found.append(Arm.of({"name": f"{strategy}-{number}", "version": (strategy, int(number)), **how}))
    for place, told in enumerate(chains, start=1):
        names = [name.strip() for name in told.split(",")]
        found.append(Arm.of({"name": "chain" if place == 1 else f"chain-{place}", "strategies": names, **how}))
    if frozen and not (versions or chains):
        found.append(Arm.of({"name": "frozen", **how}))
    if not found:
        raise InvalidInputError("name a challenger: --arms FILE, --version NAME:N, --strategies A,B or --frozen")
    return found, settings
