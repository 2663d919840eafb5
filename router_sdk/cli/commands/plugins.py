"""``router plugins``: what is installed, and the start of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement

from router_sdk.cli.invocation import Invocation, command
from router_sdk.cli.tables import note, table, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.plugins import PluginInfo, PluginRegistry

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST = 50
_TAKEN = frozenset({"bert", "heuristic", "thompson", "uniform"})

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


def write_plugin(name: str, parent: Path) -> Path:
    """Write the skeleton into ``parent / router-sdk-NAME`` and return that folder.

    Raises:
        InvalidInputError: if the name cannot serve, or the folder is there already.
    """
    written = plugin_files(name)
    folder = parent / _names(name)["distribution"]
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InvalidInputError(f"{folder} is there already; nothing was written") from None
    for place, content in written.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
    return folder


def plugin_files(name: str) -> Mapping[str, str]:
    """The skeleton's files: path within its folder to content.

    Raises:
        InvalidInputError: if the name cannot serve.
    """
    fill = _names(name)
    return {
        place.replace("package/", f"{fill['package']}/").replace("module", fill["module"]): Template(text).substitute(
            fill
        )
        for place, text in _templates(files("router_sdk.cli") / "templates" / "plugin")
    }


def _templates(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    """Every template below a folder: where it will stand, and its text."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_dir():
            yield from _templates(path, f"{above}{path.name}/")
        else:
            yield f"{above}{path.name.removesuffix('.tmpl')}", path.read_text(encoding="utf-8")


def _names(name: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise InvalidInputError(
            f"plugin name {name!r}: use up to {_LONGEST} lower-case letters and digits, starting with a letter, "
            "with single '-' or '_' between words, such as 'nearest' or 'my-rules'"
        )
    if name in _TAKEN:
        raise InvalidInputError(f"plugin name {name!r} is taken by router-sdk itself; two of one name cannot load")
    words = re.split("[-_]", name)
    return {
        "name": name,
        "distribution": "router-sdk-" + "-".join(words),
        "package": "router_sdk_" + "_".join(words),
        "module": "_".join(words),
        "title": "".join(word.capitalize() for word in words),
    }
