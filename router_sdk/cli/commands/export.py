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
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings, export_examples

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
    min_quality: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="0..1", help="Leave out what has less quality, or none.")
    ] = None,
    min_feedback: Annotated[
        float | None,
        typer.Option(min=-1.0, max=1.0, metavar="-1..1", help="Leave out what users said worse of, or nothing."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Chat formats: keep pairs of text and response that are equal.")
    ] = False,
    existing: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Chat formats: begin with the pairs of this file.")
    ] = None,
    unanswered: Annotated[
        bool, typer.Option("--unanswered", help="jsonl and csv: decisions without an outcome, too.")
    ] = False,
) -> None:
    """Write decisions with what came of them to a file.

    What jsonl and csv hold, router import reads again without loss, and counts nothing twice.
    """
    settings = ExportSettings(
        min_reward=min_reward,
        min_quality_score=min_quality,
        min_user_feedback=min_feedback,
        deduplicate=not duplicates,
        existing_data_path=existing,
        unanswered=unanswered,
    )
    with (
        invocation.router(new=False, read_only=True) as router,
        invocation.screen.progress("exporting"),
    ):
        if path == STDIN:
            _to_stdout(router, form, settings)
            return
        written = router.examples.export(path, format=form, **settings)
    invocation.screen.show(
        {"path": path, "format": form, "examples": written}, lambda: [f"Wrote {counted(written, 'example')} to {path}."]
    )


def _to_stdout(router: Router, form: ExportFormat, settings: ExportSettings) -> None:
    with tempfile.TemporaryDirectory(prefix="router-export-") as folder:
        draft = Path(folder) / "examples"
        export_examples(router.examples, draft, form, ExportOptions.of(draft, **settings))
        with draft.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)
