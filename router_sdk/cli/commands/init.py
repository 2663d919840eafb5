"""``router init``: a configuration to start from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, cast, get_args

import typer

from router_sdk.cli.invocation import CONFIG_FILES, Invocation
from router_sdk.cli.tables import note
from router_sdk.errors import InvalidInputError
from router_sdk.plugins import FIRST_PARTY, PluginRegistry
from router_sdk.records import AgentSet, agents_of

Form = Literal["toml", "yaml", "json"]
_SUFFIXES: dict[str, Form] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_SAMPLES = ("billing", "general")
"""The first and the last of the sample agents."""


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


def settings_file(
    store: str, agents: Sequence[str], form: Form = "toml", installed: Sequence[str] = ("thompson", "heuristic")
) -> str:
    """A configuration that loads as it is: commented in TOML and YAML, bare in JSON, the same in all three.

    Args:
        store: Path of the store.
        agents: Names of the agents; sample agents where there are none.
        form: How it is written.
        installed: Strategies that there are; those of ours are the chain.
    """
    if form == "json":
        told = tomllib.loads(settings_file(store, agents, "toml", installed))
        told["strategy"] = {name: given for name, given in told.get("strategy", {}).items() if given}
        return f"{json.dumps(told, indent=2, ensure_ascii=False)}\n"
    chain = [name for name in FIRST_PARTY if name in installed]
    first, last = (agents[0], agents[-1]) if agents else _SAMPLES
    fill = {
        "store": _quoted(store),
        "chain": _chain(chain, sorted(set(installed).difference(chain)), "=" if form == "toml" else ":"),
        "first": _quoted(first),
        "last": _quoted(last),
        "strategy": "strategy:" if "heuristic" in chain else "# strategy:",  # with nothing under it, it would be null
    }
    part = _parts(form)
    members = [part["agent"].substitute(name=_quoted(name)) for name in agents] or [part["samples"].substitute()]
    settings = [part[name].substitute(fill) for name in ("heuristic", "thompson") if name in chain]
    head = part["strategies"].substitute(fill) if settings else ""
    return "".join([part["head"].substitute(fill), *members, head, *settings]).rstrip("\n") + "\n"


def _parts(form: str) -> dict[str, Template]:
    """The template's parts: each stands below a line ``%% name``."""
    text = (files("router_sdk.cli") / "templates" / f"router.{form}.tmpl").read_text(encoding="utf-8")
    _, *found = re.split(r"^%% (\w+)\n", text, flags=re.MULTILINE)
    return {name: Template(body) for name, body in zip(found[::2], found[1::2], strict=True)}


def _chain(chain: Sequence[str], others: Sequence[str], equals: str) -> str:
    """The strategies that are installed; where none of ours is, ours as a comment."""
    gap = " " if equals == "=" else ""
    line = f"{'' if chain else '# '}strategies{gap}{equals} {_quoted(chain or FIRST_PARTY)}"
    return line + (f"   # also installed: {', '.join(others)}" if others else "")


def _quoted(value: Any) -> str:
    """JSON's texts and lists are TOML's and YAML's, too."""
    return json.dumps(value, ensure_ascii=False)
