"""``router bench``: the benchmarks of a repository checkout."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import router_sdk
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import table
from router_sdk.errors import InvalidInputError


def bench(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(help="Which one; without a name they are listed.")] = "",
    arguments: Annotated[list[str] | None, typer.Argument(help="What it is told.", metavar="ARGUMENTS")] = None,
) -> None:
    """Run a benchmark in a process of its own; without a name, say which there are.

    They stand in the benchmarks/ folder of a repository checkout and are no part of the installed package.
    """
    found = _benchmarks()
    if not name:
        rows = ([one, words] for one, (_, words) in found.items())
        invocation.screen.show(
            {"benchmarks": {one: words for one, (_, words) in found.items()}},
            lambda: [table("Benchmarks", ["name", "what it measures"], rows, wide="what it measures")],
        )
        return
    if name not in found:
        raise InvalidInputError(f"no benchmark is called {name!r}; there are {', '.join(found) or 'none'}")
    path, _ = found[name]
    ran = subprocess.run([sys.executable, str(path), *(arguments or ())], check=False)
    if ran.returncode:
        raise typer.Exit(ran.returncode)


def _benchmarks() -> dict[str, tuple[Path, str]]:
    """Files with a ``main`` in the checkout's folder, with the first line of what they say of themselves.

    Raises:
        InvalidInputError: if this is no checkout.
    """
    root = Path(router_sdk.__file__).parents[1]
    folder = root / "benchmarks"
    if not (root / "pyproject.toml").is_file() or not folder.is_dir():
        raise InvalidInputError(
            "the benchmarks are no part of the installed package: clone the repository, pip install -e . there, and "
            "run it again"
        )
    found = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\ndef main(" in text:
            said = ast.get_docstring(ast.parse(text)) or ""
            found[path.stem] = (path, said.partition("\n")[0].replace("``", ""))
    return found
