"""``router init``: a configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from router_sdk.cli.invocation import CONFIG_FILES, Invocation
from router_sdk.cli.settings_file import Form, settings_file
from router_sdk.cli.tables import note
from router_sdk.errors import InvalidInputError
from router_sdk.plugins import PluginRegistry
from router_sdk.records import AgentSet, agents_of

_SUFFIXES: dict[str, Form] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def init(
    invocation: Invocation,
    path: Annotated[
        Path | None, typer.Argument(help="The file to write; router.toml, or with --format its like.")
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="An agent of yours; give it several times.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="toml|yaml|json", help="How it is written; else the name says so.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a configuration: agents, store, and the strategies that are installed; commented, but for JSON.

    Without --agent it holds sample agents to replace.
    """
    names = AgentSet(agents_of(agent or [])).names
    path, chosen = _target(path, form)
    content = settings_file(
        str(invocation.store or "router.db"), names, chosen, sorted(PluginRegistry.load().strategies)
    )
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(content)
    except FileExistsError:
        raise InvalidInputError(f"{path} is there already; --force writes over it") from None
    named = "" if path in CONFIG_FILES else f" --config {path}"
    following = f"Next: look through it, then router route 'I was charged twice'{named}"
    invocation.screen.show({"config": str(path), "agents": names}, lambda: [f"Wrote {path}.", note(following)])


def _target(path: Path | None, form: str | None) -> tuple[Path, Form]:
    """Where to write, and how.

    Raises:
        InvalidInputError: if there is no such format, or the file's name says another one.
    """
    if form is not None and form not in get_args(Form):
        raise InvalidInputError(f"--format {form!r}: expected toml, yaml or json")
    if path is None:
        chosen = cast("Form", form or "toml")
        return CONFIG_FILES[0].with_suffix(f".{chosen}"), chosen
    ending = _SUFFIXES.get(path.suffix.lower())
    if ending is None:
        raise InvalidInputError(f"{path}: a configuration is read from .toml, .yaml, .yml or .json")
    if form not in (None, ending):
        raise InvalidInputError(f"{path}: its name says {ending}, and --format {form}; give one of them")
    return path, ending
