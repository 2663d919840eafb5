"""``router store migrate``: the whole log to a store of another engine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from router_sdk.cli.invocation import Invocation, command
from router_sdk.cli.tables import note, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.spelling import counted

app = typer.Typer(
    help="Move a store to a database of another kind. To copy it there is router backup, to make it smaller router "
    "archive, to see what is in it router status.",
    no_args_is_help=True,
)


@app.command("migrate")
@command
def migrate(
    invocation: Invocation,
    target: Annotated[str, typer.Argument(help="Where to: a SQLite file, or a URL; nothing may be there yet.")],
) -> None:
    """Copy the log and everything beside it, row by row, to an empty store. The old one stays as it is.

    Close every router on it first: what is recorded meanwhile is left behind. What was learnt is the same
    afterwards, to the last bit.
    """
    from router_sdk.store import Store
    from router_sdk.store.migration import migrate as move
    from router_sdk.store.store import IN_MEMORY

    source = invocation.config.store
    if IN_MEMORY in (str(source), target):
        raise InvalidInputError("migrate: name two stores that stay, not ':memory:'")
    if isinstance(source, Path) and not source.expanduser().is_file():
        raise InvalidInputError(f"there is no store at {source}; name another one with --store")
    with (
        invocation.screen.progress("copying"),
        closing(Store(source, read_only=True)) as old,
        closing(Store(target)) as new,
    ):
        done, where = move(old, new), new.engine.shown
    told = {"target": where, **done._asdict(), "missing": list(done.missing)}
    lines = [
        f"Copied {counted(done.rows['decisions'], 'decision')} and {counted(done.rows['outcomes'], 'outcome')}, up to "
        f"event {done.head:,}, to {where}."
    ]
    lost = note(f"Lost or damaged already: {word(done.missing)}")
    invocation.screen.show(told, lambda: [*map(visible, lines), *([lost] if done.missing else [])])
