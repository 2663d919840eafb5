"""``router watch``: a folder into which others put files; each is imported once, learnt, and put aside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.commands.exchange import LabelsOption, MapOption, NewAgentsOption, RangeOption, told_mapping
from router_sdk.cli.commands.loop import told_to_end
from router_sdk.cli.invocation import Invocation
from router_sdk.errors import InvalidInputError, RouterClosedError, RouterError, StoreError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from router_sdk.exchange.columns import ColumnMapping
    from router_sdk.router import Router

DONE, FAILED = "done", "failed"
"""Folders, in the one that is watched, for files that were imported and those that could not be."""

_ENDINGS = (".csv", ".jsonl", ".json", ".csv.gz", ".jsonl.gz", ".json.gz")


def watch(
    invocation: Invocation,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where files arrive.")],
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between two looks.")] = 300.0,
    settle: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="A file that changed in this time is still being written.")
    ] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end: with 2 where a file failed.")] = False,
    map_: MapOption = None,
    labels: LabelsOption = None,
    score_range: RangeOption = None,
    new_agents: NewAgentsOption = False,
) -> None:
    """Import each new CSV or JSONL file of a folder, learn from it, and move it to done/ or failed/ there.

    A file that changed within the last seconds, and one whose name begins with a dot, waits for the next look. Beside a
    file in failed/ lies NAME.reason, which says why (a link and a file without lines fail, too); lines that were
    refused are dead letters. It ends at Ctrl-C or SIGTERM, once the file in hand is done.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such folder")
    mapping = told_mapping(map_, labels, score_range)
    failed = 0
    with told_to_end() as end, invocation.router(brief=False) as router:
        while True:
            for path in _settled(folder, settle):
                if end.is_set():
                    break
                failed += not _taken_in(invocation, router, path, mapping, new_agents=new_agents)
            if once or end.wait(interval):
                break
    if once and failed:
        raise InvalidInputError(f"{counted(failed, 'file')} could not be imported; {folder / FAILED} has the reasons")


def _settled(folder: Path, settle: float) -> Iterator[Path]:
    """Files that nobody writes to any more, the oldest first."""
    newest = time.time() - settle
    found = []
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.name.lower().endswith(_ENDINGS):
            continue
        if not path.is_symlink() and not path.is_file():
            continue
        with suppress(FileNotFoundError):  # somebody took it away
            changed = path.lstat().st_mtime
            if changed <= newest:
                found.append((changed, path))
    return iter([path for _, path in sorted(found)])


def _taken_in(
    invocation: Invocation, router: Router, path: Path, mapping: ColumnMapping | None, *, new_agents: bool
) -> bool:
    """Import one file, and move it; False where nothing of it could be used."""
    told: dict[str, Any] = {"at": time.time(), "file": path.name}
    try:
        if path.is_symlink():  # whoever may write here need not be who may read what it leads to
            raise InvalidInputError(f"{path.name} is a link; put the file itself there")
        report = router.examples.import_from(path, mapping=mapping, new_agents=new_agents)
        router.flush()
    except (StoreError, RouterClosedError):
        raise  # that is not the file's fault: it waits for the next start
    except RouterError as error:
        reason = str(error)
    else:
        told.update(asdict(report))
        reason = "" if report.imported or report.known else "; ".join(report.errors) or "it holds no lines"
    if reason:
        moved = _moved(path, FAILED)
        moved.with_name(moved.name + ".reason").write_text(reason + "\n", encoding="utf-8")
        invocation.screen.event({**told, "event": "failed", "reason": reason}, f"{path.name}: failed: {reason}")
        return False
    _moved(path, DONE)
    words = f"{path.name}: {counted(told['imported'], 'line')} imported"
    words += f", {told['known']:,} known already" if told["known"] else ""
    words += f", {told['rejected']:,} refused and kept as dead letters" if told["rejected"] else ""
    invocation.screen.event({**told, "event": "done"}, words)
    return True


def _moved(path: Path, where: str) -> Path:
    """The file in another folder, under a name that nothing there has."""
    folder = path.with_name(where)
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{number}-{path.name}"
    return path.rename(target)
