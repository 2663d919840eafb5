"""``router export``: examples into a file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.options import STDIN
from router_sdk.cli.tables import counted
from router_sdk.exchange.exporting import ExportFormat, export_examples

if TYPE_CHECKING:
    from router_sdk.router import Router


def export(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(help="The file to write, whole or not at all; - writes to stdout.")],
    form: Annotated[
        ExportFormat,
        typer.Option("--format", help="jsonl and csv hold everything; the others pair a text with its response."),
    ] = "jsonl",
    min_reward: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="0..1", help="Leave out what was rewarded less.")
    ] = None,
) -> None:
    """Write the joined examples to a file: decisions with what came of them."""
    with (
        invocation.router(new=False, read_only=True) as router,
        invocation.screen.progress("exporting"),
    ):
        if path == STDIN:
            _to_stdout(router, form, min_reward)
            return
        written = router.export_examples(path, format=form, min_reward=min_reward)
    invocation.screen.show(
        {"path": path, "format": form, "examples": written}, lambda: [f"Wrote {counted(written, 'example')} to {path}."]
    )


def _to_stdout(router: Router, form: ExportFormat, min_reward: float | None) -> None:
    with tempfile.TemporaryDirectory(prefix="router-export-") as folder:
        draft = Path(folder) / "examples"
        export_examples(router.examples.with_responses(), draft, form, min_reward)
        with draft.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)
