"""``router import``: what was done before, here or elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.options import STDIN, readable
from router_sdk.cli.tables import counted, note, visible
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from router_sdk.exchange.columns import ColumnMapping
    from router_sdk.exchange.observations import ImportReport
    from router_sdk.router import Router

_SHOWN = 20

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="TARGET=COLUMN",
        help="Where a foreign file has what: text=title,details, label=team, or of a category tree label=tree:first "
        "(last, or a position from 0); agent, success, quality, feedback, cost, latency, time, id, session, features, "
        "metrics and so on. Other unknown columns are then ignored. Once for each.",
    ),
]
LabelsOption = Annotated[
    str | None, typer.Option(metavar="NAME,NAME", help="Whom integer labels stand for, from 0.", show_default=False)
]
RangeOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="The lowest and the highest quality there is, where that is not 0 and 1."),
]
NewAgentsOption = Annotated[
    bool, typer.Option("--new-agents", help="Names that nobody knows become agents; else their lines are refused.")
]


def import_file(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(help="JSON lines, a JSON array or CSV, .gz too.")],
    map_: MapOption = None,
    labels: LabelsOption = None,
    score_range: RangeOption = None,
    new_agents: NewAgentsOption = False,
) -> None:
    """Bring a file in: what router export wrote as what it was, any other line as an observed decision.

    A line has a task's fields, agent or label, and an outcome's fields. One that is refused becomes a dead
    letter, and the rest goes on. What is in the log already is not counted again.
    """
    mapping = told_mapping(map_, labels, score_range)
    source = file_to_import(path)
    with invocation.router() as router:
        report = bring_in(invocation, router, source, mapping, new_agents=new_agents)
    invocation.screen.show({"path": path, **asdict(report)}, lambda: import_words(invocation, report))
    check_refused(report)


def file_to_import(path: str) -> str:
    """A file that can be read.

    Raises:
        InvalidInputError: if it is none.
    """
    if path == STDIN:
        raise InvalidInputError("import reads files; router route and router record read streams with --batch -")
    return readable(path)


def bring_in(
    invocation: Invocation, router: Router, source: str, mapping: ColumnMapping | None, *, new_agents: bool
) -> ImportReport:
    """Import a file while a bar moves, and say which lines were refused."""
    with invocation.screen.progress("importing") as tell:
        report = router.examples.import_from(source, mapping=mapping, new_agents=new_agents, tell=tell)
    for reason in report.errors:
        invocation.screen.refuse({"message": reason}, reason)
    if (more := report.rejected - len(report.errors)) > 0:
        words = f"and {more:,} more lines; router status --last {report.rejected} shows all of them"
        invocation.screen.refuse({"message": words}, words)
    return report


def import_words(invocation: Invocation, report: ImportReport) -> list[RenderableType]:
    """What became of a file's lines, for people."""
    lines = [f"Imported {counted(report.imported, 'line')}."]
    if report.known:
        lines.append(f"{report.known:,} lines are in the log already, and were not counted again.")
    if report.new_agents:
        names = ", ".join(map(visible, report.new_agents[:_SHOWN]))
        more = ", …" if len(report.new_agents) > _SHOWN else ""
        lines.append(f"New agents: {names}{more}.")
        if invocation.config.agents is not None:
            lines.append("The configuration lists who can be chosen: put them into its [[agents]], too.")
    if report.ignored:
        lines.append(f"Not mapped, and ignored: {', '.join(map(visible, report.ignored))}.")
    return [note(line) if number else line for number, line in enumerate(lines)]


def check_refused(report: ImportReport) -> None:
    """Fail if a line was refused, so that a script notices.

    Raises:
        InvalidInputError: if so; says how many.
    """
    if report.rejected:
        total = report.imported + report.known + report.rejected
        raise InvalidInputError(f"{report.rejected:,} of {total:,} lines were refused and kept as dead letters")


def told_mapping(
    pairs: list[str] | None, labels: str | None = None, score_range: tuple[float, float] | None = None
) -> ColumnMapping | None:
    """What ``--map``, ``--labels`` and ``--score-range`` say; None where none is given.

    Raises:
        InvalidInputError: if it is malformed.
    """
    from router_sdk.exchange.columns import ColumnMapping

    if not (pairs or labels or score_range):
        return None
    names = [name.strip() for name in labels.split(",")] if labels else []
    return ColumnMapping.parse(pairs or [], names, score_range)


def mapping_of_data(pairs: list[str] | None, data: Path | None, labels: str | None = None) -> ColumnMapping | None:
    """``told_mapping`` for a command whose file is an option.

    Raises:
        InvalidInputError: if there is no file, or the mapping is malformed.
    """
    if (pairs or labels) and data is None:
        raise InvalidInputError("--map: says what the columns of a file mean; name the file with --data")
    return told_mapping(pairs, labels)
