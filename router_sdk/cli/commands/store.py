"""``router snapshot``, ``archive``, ``forget``, ``backup`` and ``restore``: what is kept, where, and for how long."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import moment, note, visible, word
from router_sdk.engine import Engine
from router_sdk.errors import InvalidInputError
from router_sdk.records.arguments import age
from router_sdk.spelling import counted
from router_sdk.store.engines import engine_of
from router_sdk.store.retention import before_of_size

_MB = 1_000_000


def snapshot(invocation: Invocation) -> None:
    """Save what was learnt now, so that the next start has less to replay."""
    with invocation.router(new=False) as router:
        router.snapshot()
        told = router.status()["learner"]
    told = {name: told[name] for name in ("head", "snapshots", "broken")}
    unsaved = [name for name, saved in told["snapshots"].items() if saved < told["head"]]
    lines = [f"Saved what was learnt up to event {told['head']:,}."]
    if unsaved:
        lines = [f"Not saved up to event {told['head']:,}: {word(unsaved)}; router status says why."]
    invocation.screen.show(told, lambda: lines)


def archive(
    invocation: Invocation,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Those of a greater age: 90d, 12h or 2w (hours, days, weeks).")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Those made before a date or a moment: 2026-01-31, 2026-01-31T12:00+01:00."),
    ] = None,
    max_mb: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="N", help="The oldest, until the log takes no more than so many megabytes."),
    ] = None,
) -> None:
    """Move old decisions and their outcomes out of the log, to a compressed file beside it.

    What was learnt from them is saved first and stays. What a process that has the store open has not saved yet
    stays in the log, and is moved the next time.
    """
    if sum(option is not None for option in (older_than, before, max_mb)) != 1:
        raise InvalidInputError("say what to archive: --older-than AGE, --before DATE or --max-mb N, one of them")
    until = _moment(before) if before is not None else None
    if older_than is not None:
        until = max(0.0, time.time() - _age(older_than).total_seconds())
    with invocation.router(new=False) as router, invocation.screen.progress("archiving"):
        engine = engine_of(str(router.config.store))
        if max_mb is not None:
            until = _moment_of_size(engine, max_mb)
        moved = 0 if until is None else router.archive(until)
        left = 0 if until is None else _older(engine, until)
        engine.close()
    folder = engine.folder / "archive"
    told = {"archived": moved, "before": until, "left": left, "folder": str(folder)}
    if until is None:
        lines = [f"The log takes no more than {max_mb:g} MB; nothing was archived."]
    else:
        lines = [
            f"Archived {counted(moved, 'decision')} made before {moment(until)}" + (f", to {folder}." if moved else ".")
        ]
    rest = note(
        f"{left:,} more {'stays' if left == 1 else 'stay'} until every process on the store has saved what they taught."
    )
    invocation.screen.show(told, lambda: [*map(visible, lines), *([rest] if left else [])])


def forget(
    invocation: Invocation,
    session: Annotated[str, typer.Argument(help="The session's id.")],
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose session; without it, that of tasks without a tenant.")
    ] = None,
) -> None:
    """Erase what a session said: texts, features, vectors, responses and its id; the numbers stay."""
    with invocation.router(new=False) as router, invocation.screen.progress("erasing"):
        count = router.forget(session, tenant=tenant)
    told = {"session_id": session, "tenant": tenant, "forgotten": count}
    invocation.screen.show(told, lambda: [visible(f"Erased what {counted(count, 'decision')} of {session} said.")])


def backup(
    invocation: Invocation,
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet, or is empty.")],
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Replay the copied log, and compare what it gives.")
    ] = True,
) -> None:
    """Copy the log, the versions and what was learnt to a folder, while others go on writing.

    Everything that was on disk when it began is in it. It holds the texts that the store holds, and what is forgotten
    later stays in it.
    """
    with (
        invocation.router(new=False, read_only=True) as router,
        invocation.screen.progress("backing up"),
    ):
        report = router.backup(target, verify=verify)
    how = "Replayed and found right." if report.verified else "Not replayed."
    lines = [
        f"Backed up {counted(report.decisions, 'decision')} and {counted(report.outcomes, 'outcome')} to {target}: "
        f"{counted(len(report.files), 'file')}, {report.size / _MB:,.1f} MB. {how}"
    ]
    damaged = note(f"Damaged in the store already: {word(report.damaged)}")
    invocation.screen.show(
        {"path": str(target), **report.to_dict()},
        lambda: [*map(visible, lines), *([damaged] if report.damaged else [])],
    )


def restore(
    invocation: Invocation,
    source: Annotated[Path, typer.Argument(help="The folder that router backup wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Move a store that is there aside; nothing is deleted.")
    ] = False,
) -> None:
    """Put a backup where --store says, checked file by file.

    Close every router on that store first.
    """
    from router_sdk.store.restore import restore as put_back
    from router_sdk.store.store import IN_MEMORY

    store = invocation.config.store
    if str(store) == IN_MEMORY or not isinstance(store, Path):
        raise InvalidInputError("restore: name a file with --store, not ':memory:' or a URL")
    with invocation.screen.progress("restoring"):
        path, aside, report = put_back(source, store, force=force)
    told = {"path": str(path), "aside": None if aside is None else str(aside), **report.to_dict()}
    lines = [
        f"Restored {counted(report.decisions, 'decision')} and {counted(report.outcomes, 'outcome')} of "
        f"{moment(report.at)} to {path}."
    ]
    moved = note(f"What was there is {aside} now.")
    invocation.screen.show(told, lambda: [*map(visible, lines), *([moved] if aside else [])])


def _age(given: str) -> timedelta:
    found = age(given)
    if found is None:
        raise InvalidInputError(f"--older-than {given!r}: expected hours, days or weeks, such as 12h, 90d or 2w")
    return found


def _moment(given: str) -> float:
    """A date or a moment, in seconds since the epoch; local time where it names no zone."""
    try:
        return datetime.fromisoformat(given.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidInputError(
            f"--before {given!r}: expected a date such as 2026-01-31, or a moment such as 2026-01-31T12:00+01:00"
        ) from None


def _moment_of_size(engine: Engine, max_mb: float) -> float | None:
    with closing(engine.looker()) as connection:
        return before_of_size(connection, int(max_mb * _MB))


def _older(engine: Engine, until: float) -> int:
    """Decisions in the log that were made before a time."""
    with closing(engine.looker()) as connection:
        return int(connection.execute("SELECT count(*) FROM decisions WHERE at < ?", (until,)).fetchone()[0])
