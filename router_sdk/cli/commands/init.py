"""``router init``: a configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_sdk.cli.invocation import CONFIG_FILE, Invocation
from router_sdk.cli.settings_file import settings_file
from router_sdk.cli.tables import note
from router_sdk.errors import InvalidInputError
from router_sdk.records import Agent


def init(
    invocation: Invocation,
    path: Annotated[Path, typer.Argument(help="The file to write.")] = CONFIG_FILE,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="An agent of yours; give it several times.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented configuration: agents, strategies, store.

    Without --agent it holds sample agents to replace.
    """
    names = [Agent(name).name for name in agent or ()]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"--agent: names must be unique, got {names}")
    content = settings_file(str(invocation.store or "router.db"), names)
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(content)
    except FileExistsError:
        raise InvalidInputError(f"{path} is there already; --force writes over it") from None
    named = "" if path == CONFIG_FILE else f" --config {path}"
    following = f"Next: look through it, then router route 'I was charged twice'{named}"
    invocation.screen.show({"config": str(path), "agents": names}, lambda: [f"Wrote {path}.", note(following)])
