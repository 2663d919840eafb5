"""``router versions``, ``promote`` and ``rollback``: what was fitted, and which of it serves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import NOTHING, note, table, visible, word
from router_sdk.errors import InvalidInputError, UnknownVersionError
from router_sdk.evaluation.fit_page import render_fit_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from router_sdk.records import ModelVersion


def versions(
    invocation: Invocation,
    strategy: Annotated[str | None, typer.Argument(help="Of which strategy; all in the chain.")] = None,
) -> None:
    """Show the fitted versions: what they learnt from, what the gate said, and which one serves."""
    with invocation.router(new=False, read_only=True) as router:
        found = router.models.versions(strategy)
    invocation.screen.show({"versions": [version.to_dict() for version in found]}, lambda: [_table(found)])


def promote(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int, typer.Argument(min=1, help="Which one.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For the history.")] = "by hand",
    force: Annotated[bool, typer.Option("--force", help="Although the gate refused it.")] = False,
) -> None:
    """Let a version serve: in this store's routers within seconds, and until router unpin."""
    with invocation.router(new=False) as router:
        router.models.promote(strategy, version, reason=reason, force=force)
    invocation.screen.show(
        {"strategy": strategy, "version": version}, lambda: [f"Version {version} of {visible(strategy)} serves."]
    )


def rollback(invocation: Invocation, strategy: Annotated[str, typer.Argument(help="Whose version.")]) -> None:
    """Let the version before serve again, and pin it: see router unpin."""
    with invocation.router(new=False) as router:
        number = router.models.rollback(strategy)
    what = "The strategy without any fit" if number is None else f"Version {number}"
    invocation.screen.show(
        {"strategy": strategy, "version": number}, lambda: [f"{what} of {visible(strategy)} serves again."]
    )


def report(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int | None, typer.Argument(min=1, help="Which one; the newest.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the page goes.")] = None,
) -> None:
    """Write a page about a fit: learning curves, confusion before and after, what was forgotten."""
    with invocation.router(new=False, read_only=True) as router:
        known = router.models.versions(strategy)
        if version is None and not known:
            raise UnknownVersionError(f"strategy {strategy!r} was never fitted; fit it with router retrain")
        found = router.models.report(strategy, version or known[-1].version)
    target = out or Path(f"{strategy}-{found.version}.html")
    try:
        target.write_text(render_fit_report(found), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"--out {target}: {error.strerror}") from error
    invocation.screen.show({**found.to_dict(), "page": str(target)}, lambda: [f"The page: {target}"])


def _table(found: Sequence[ModelVersion]) -> RenderableType:
    if not found:
        return note("Nothing was fitted yet: router retrain, or router pretrain before anything happened.")
    return table(
        "Fitted versions",
        ["strategy", ">version", "made", ">examples", "serves", "gate"],
        (
            [
                visible(version.strategy),
                word(version.version),
                f"{version.kind} {datetime.fromtimestamp(version.at):%d %b %H:%M}",
                word(version.samples),
                "yes" if version.aliases else NOTHING,
                visible(("" if version.passed else "refused: ") + version.reason),
            ]
            for version in found
        ),
        wide="gate",
    )
