"""``router import``: what was done before, as observed decisions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.options import STDIN, readable
from router_sdk.cli.tables import counted
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.exchange.mapping import ColumnMapping

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="TARGET=COLUMN",
        help="Where a foreign file has its text and label: text=title,details, label=team, or of a category tree "
        "label=tree:first (last, or a position from 0). Other unknown columns are then ignored. Once for each.",
    ),
]


def import_file(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(help="A JSONL or CSV file, .gz too.")],
    map_: MapOption = None,
) -> None:
    """Learn from a file of what was done before.

    A line has a task's fields, agent or label, and an outcome's fields; its agents must be known (router
    agents add). A line that is refused becomes a dead letter, and the rest goes on.
    """
    if path == STDIN:
        raise InvalidInputError("import reads files; router route and router record read streams with --batch -")
    source = readable(path)
    mapping = told_mapping(map_)
    with invocation.router() as router, invocation.screen.progress("importing"):
        report = router.import_examples(source, mapping=mapping)
    for reason in report.errors:
        invocation.screen.refuse({"message": reason}, reason)
    invocation.screen.show({"path": path, **asdict(report)}, lambda: [f"Imported {counted(report.imported, 'line')}."])
    if report.rejected:
        total = report.imported + report.rejected
        raise InvalidInputError(f"{report.rejected:,} of {total:,} lines were refused and kept as dead letters")


def told_mapping(pairs: list[str] | None) -> ColumnMapping | None:
    """What ``--map`` says; None where it is not given.

    Raises:
        InvalidInputError: if it is malformed.
    """
    from router_sdk.exchange.mapping import ColumnMapping

    return ColumnMapping.parse(pairs) if pairs else None


def mapping_of_data(pairs: list[str] | None, data: Path | None) -> ColumnMapping | None:
    """``told_mapping`` for a command whose file is an option.

    Raises:
        InvalidInputError: if there is no file, or the mapping is malformed.
    """
    if pairs and data is None:
        raise InvalidInputError("--map: says what the columns of a file mean; name the file with --data")
    return told_mapping(pairs)
