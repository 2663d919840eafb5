"""``router agents``: who can be chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation, command
from router_sdk.cli.tables import dollars, milliseconds, note, share, table, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.records import Agent

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(no_args_is_help=True, help="List, add and remove agents.")


@app.command("list")
@command
def list_agents(invocation: Invocation) -> None:
    """Show the agents: the configuration's, or else the store's."""
    listed = invocation.config.agents
    source = "the store"
    if listed is not None:
        source = _lister(invocation)
    else:
        with invocation.router(new=False, read_only=True) as router:
            listed = router.agents
    invocation.screen.show(
        {"source": source, "agents": [agent.model_dump(mode="json") for agent in listed]},
        lambda: [agent_table(listed or (), source)],
    )


@app.command("add")
@command
def add(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="What decisions call it.")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is good at.")] = "",
    example: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text that it should get; several times.")
    ] = None,
    capability: Annotated[list[str] | None, typer.Option(metavar="NAME", help="What it can do; several times.")] = None,
    cost_usd: Annotated[float | None, typer.Option(metavar="USD", help="Expected cost of a call.")] = None,
    latency_ms: Annotated[float | None, typer.Option(metavar="MS", help="Expected latency of a call.")] = None,
    success_rate: Annotated[
        float | None, typer.Option(metavar="0..1", help="What you believe before there are outcomes.")
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Known and reported, but without traffic.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was learnt under this name.")] = False,
) -> None:
    """Add an agent to the store, or replace its record.

    An agent that comes back resumes what was known of it, unless --fresh is given.
    """
    agent = Agent(
        name,
        description=description,
        examples=example or (),
        capabilities=capability or (),
        cost_usd=cost_usd,
        latency_ms=latency_ms,
        success_rate=success_rate,
        enabled=not disabled,
    )
    _refuse_configured(invocation, f"put {name!r} into its [[agents]]")
    with invocation.router() as router:
        router.add_agent(agent, fresh=fresh)
    invocation.screen.show({"added": agent.model_dump(mode="json")}, lambda: [f"Added {name}."])


@app.command("remove")
@command
def remove(invocation: Invocation, name: Annotated[str, typer.Argument(help="Whom to take out.")]) -> None:
    """Take an agent out of the store; what was learnt about it stays, should it come back."""
    _refuse_configured(invocation, f"take {name!r} out of its [[agents]]")
    with invocation.router(new=False) as router:
        router.remove_agent(name)
    invocation.screen.show({"removed": name}, lambda: [f"Removed {visible(name)}."])


def _lister(invocation: Invocation) -> str:
    path = invocation.config_path
    return "ROUTER_AGENTS" if path is None or "ROUTER_AGENTS" in os.environ else str(path)


def _refuse_configured(invocation: Invocation, instead: str) -> None:
    """A configured list is every router's eligible set: a change in the store would have no effect."""
    if invocation.config.agents is not None:
        raise InvalidInputError(
            f"{_lister(invocation)} lists the agents, and its list counts: {instead}, or delete the list there to "
            "follow the store"
        )


def agent_table(agents: Sequence[Agent], source: str) -> RenderableType:
    """The agents, and what is said of each."""
    if not agents:
        return note(f"No agents in {source} yet: router agents add NAME --description '…'")
    return table(
        f"Agents of {source}",
        ["agent", ">examples", ">cost", ">latency", ">believed", "can", "description"],
        (
            [
                visible(agent.name) if agent.enabled else f"{visible(agent.name)} (disabled)",
                word(len(agent.examples)),
                dollars(agent.cost_usd),
                milliseconds(agent.latency_ms),
                share(agent.success_rate),
                word(sorted(agent.capabilities)),
                visible(agent.description),
            ]
            for agent in agents
        ),
        wide="description",
        last=("can", "agent"),
    )
