"""``router plugins``: what is installed, and the start of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement

from router_sdk.cli.invocation import Invocation, command
from router_sdk.cli.scaffold import write_plugin
from router_sdk.cli.tables import note, table, visible, word
from router_sdk.plugins import PluginInfo, PluginRegistry

app = typer.Typer(no_args_is_help=True, help="List plugins, and write a new one.")


@app.command("list")
@command
def list_plugins(invocation: Invocation) -> None:
    """Show the installed plugins and what they bring, what more can be installed, and why one could not be loaded."""
    found = PluginRegistry.load().describe()
    told: list[dict[str, Any]] = [
        {
            "name": info.name,
            "distribution": info.distribution,
            "provides": {kind: list(names) for kind, names in info.provides.items()},
            "install": _to_install(info.distribution),
            "error": None if info.error is None else str(info.error),
        }
        for info in found
    ]
    rows = (
        [visible(info.name), word(info.distribution), _brings(info, one["install"])]
        for info, one in zip(found, told, strict=True)
    )
    empty = note("No plugins are installed: pip install router-sdk-thompson router-sdk-heuristic")
    invocation.screen.show(
        {"plugins": told},
        lambda: [table("Plugins", ["plugin", "distribution", "brings"], rows, wide="brings")] if found else [empty],
    )


def _brings(info: PluginInfo, install: Sequence[str]) -> str:
    if info.error is not None:
        return f"not loaded: {visible(str(info.error))}"
    return "\n".join([word(info.provides), *(f"more: {visible(line)}" for line in install)])


def _to_install(described: str | None) -> list[str]:
    """A command for each extra that lacks something, of a distribution given with its version."""
    if described is None:
        return []
    name = described.split()[0]
    try:
        return [f"pip install '{name}[{extra}]'" for extra in extras_to_install(name)]
    except PackageNotFoundError:
        return []


def extras_to_install(name: str) -> dict[str, tuple[str, ...]]:
    """What each extra of a distribution still needs, by extra; those that are complete are left out.

    Args:
        name: An installed distribution.

    Raises:
        PackageNotFoundError: if it is not installed.
    """
    found = distribution(name)
    required = [Requirement(line) for line in found.requires or ()]
    missing = {extra: tuple(_missing(required, extra)) for extra in found.metadata.get_all("Provides-Extra") or ()}
    return {extra: names for extra, names in missing.items() if names}


def _missing(required: list[Requirement], extra: str) -> Iterator[str]:
    """Requirements that hold with the extra alone, and are not met."""
    for one in required:
        if one.marker is None or one.marker.evaluate({"extra": ""}) or not one.marker.evaluate({"extra": extra}):
            continue
        try:
            met = one.specifier.contains(version(one.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            yield one.name


@app.command("new")
@command
def new(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="What the strategy will be called, such as nearest.")],
    folder: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="Where its folder goes.")] = Path(),
) -> None:
    """Write the skeleton of a plugin: a distribution that installs, routes, learns and passes its tests."""
    written = write_plugin(name, folder)
    following = f"Next: pip install -e {written}, make its strategy.py yours, and let pytest check it."
    invocation.screen.show({"name": name, "folder": str(written)}, lambda: [f"Wrote {written}.", note(following)])
