"""``router import``, ``export`` and ``predict``: files of examples in and out, and who would get each task of one."""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from router_sdk.cli.invocation import STDIN, Invocation, readable
from router_sdk.cli.tables import note, table, visible, word
from router_sdk.errors import InvalidInputError, RouterError
from router_sdk.exchange.curation import Prefer
from router_sdk.exchange.exporting import ExportFormat, ExportOptions, ExportSettings, export_examples
from router_sdk.exchange.parquet import arrow, is_parquet
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.exchange.columns import ColumnMapping
    from router_sdk.exchange.history import History
    from router_sdk.exchange.observations import ImportReport
    from router_sdk.router import Router
    from router_sdk.training.datasets import Dataset


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

COLUMNS = ("line", "id", "agent", "score", "probability", "ranking", "error")
_TELL_EVERY = 100


def import_file(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(help="JSON lines, a JSON array or CSV, .gz too; Parquet, or a folder of it.")],
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
    """A file that can be read, or a folder of Parquet files; asked before there is a store.

    Raises:
        InvalidInputError: if it is none, or what reads it is not installed.
    """
    if path == STDIN:
        raise InvalidInputError("import reads files; router route and router record read streams with --batch -")
    if is_parquet(Path(path)):
        arrow()
    return path if Path(path).is_dir() else readable(path)


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


def export(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(help="The file to write, whole or not at all; - writes to stdout.")],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="jsonl, csv and parquet (a folder, a file a day) hold everything; others pair text and response.",
        ),
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
    unique: Annotated[
        bool | None,
        typer.Option(
            "--unique/--duplicates",
            help="Chat formats: each pair of text and response once (the default). jsonl and csv: of labelled examples "
            "with equal tasks and labels the newest.",
            show_default=False,
        ),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(min=1.0, metavar="N", help="Most labelled examples of an agent, in multiples of the median."),
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, metavar="N", help="Most examples.")] = None,
    prefer: Annotated[
        Prefer, typer.Option(help="Which to keep where some must go: the uncertain are drawn at random.")
    ] = "newest",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what is drawn.")] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="STRATEGY:VERSION", help="What a version was trained on, as it was known then."),
    ] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="With --dataset: what judged it instead.")] = False,
    existing: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Chat formats: begin with the pairs of this file.")
    ] = None,
    unanswered: Annotated[
        bool, typer.Option("--unanswered", help="jsonl, csv and parquet: decisions without an outcome, too.")
    ] = False,
) -> None:
    """Write decisions with what came of them to a file.

    What jsonl, csv and parquet hold, router import reads again without loss, and counts nothing twice.
    """
    if held_out and dataset is None:
        raise InvalidInputError("--held-out: says which part of a version's data set; name it with --dataset")
    if form == "parquet":
        if path == STDIN:
            raise InvalidInputError("parquet is a folder with a file for each day: give its name")
        arrow()  # what is not installed is said before a store is opened
    settings = ExportSettings(
        min_reward=min_reward,
        min_quality_score=min_quality,
        min_user_feedback=min_feedback,
        deduplicate=unique,
        balance=balance,
        most_examples=most,
        prefer=prefer,
        seed=seed,
        existing_data_path=existing,
        unanswered=unanswered,
    )
    with (
        invocation.router(new=False, read_only=True) as router,
        invocation.screen.progress("exporting"),
    ):
        source = None if dataset is None else _dataset(router, dataset)
        if path == STDIN:
            history = router.examples if source is None else source.held_out if held_out else source.examples
            _to_stdout(history, form, settings)
            return
        if source is None:
            written = router.examples.export(path, format=form, **settings)
        else:
            written = source.export(path, format=form, held_out=held_out, **settings)
    invocation.screen.show(
        {"path": path, "format": form, "examples": written}, lambda: [f"Wrote {counted(written, 'example')} to {path}."]
    )


def _dataset(router: Router, name: str) -> Dataset:
    strategy, _, version = name.rpartition(":")
    if not (strategy and version.isdecimal()):
        raise InvalidInputError(f"--dataset {name!r:.60}: write STRATEGY:VERSION, such as bert:3")
    return router.models.dataset(strategy, int(version))


def _to_stdout(history: History, form: ExportFormat, settings: ExportSettings) -> None:
    with tempfile.TemporaryDirectory(prefix="router-export-") as folder:
        draft = Path(folder) / "examples"
        export_examples(history, draft, form, ExportOptions.of(draft, **settings))
        with draft.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)


def predict(
    invocation: Invocation,
    file: Annotated[str, typer.Option(metavar="FILE", help="Tasks: JSON lines, a JSON array or CSV, .gz too.")],
    output: Annotated[
        str, typer.Option(metavar="FILE", help="A .jsonl or .csv file, whole or not at all; - writes JSONL to stdout.")
    ] = STDIN,
    map_: MapOption = None,
    top_k: Annotated[int | None, typer.Option(min=1, metavar="N", help="How many agents of each ranking.")] = None,
) -> None:
    """Rank the agents for each task of a file. Nothing is logged, and nothing explored.

    An answer has the line of its task, its id where --map id=COLUMN names one, the favourite and the ranking; no
    agent where none fits. A task that is malformed is answered with its error, and the rest goes on.
    """
    source, mapping = file_to_import(file), told_mapping(map_)
    chosen: Counter[str | None] = Counter()
    refused = 0
    with (
        invocation.router(new=False) as router,
        _writing(output) as write,
        invocation.screen.progress("predicting") as tell,
    ):
        router.warm_up()
        router.flush()
        for count, answer in enumerate(_answers(router, Path(source), mapping, top_k), start=1):
            write(answer)
            if "error" in answer:
                refused += 1
                reason = f"line {answer['line']}: {answer['error']}"
                invocation.screen.refuse({"line": answer["line"], "message": answer["error"]}, reason)
            else:
                chosen[answer["agent"]] += 1
            if count % _TELL_EVERY == 0:
                tell(f"predicting: {counted(count, 'task')}", None)
    if output != STDIN:
        told = {"path": output, "tasks": chosen.total(), "refused": refused, "agents": dict(chosen)}
        rows = ([agent or "no agent fits", word(count)] for agent, count in chosen.most_common())
        invocation.screen.show(
            told, lambda: [table(counted(chosen.total(), "task"), ["agent", ">tasks"], rows, wide="agent")]
        )
    if refused:
        raise InvalidInputError(f"{refused:,} of {counted(refused + chosen.total(), 'task')} could not be read")


def _answers(
    router: Router, source: Path, mapping: ColumnMapping | None, top_k: int | None
) -> Iterator[dict[str, Any]]:
    from router_sdk.exchange.lines import TEXTS
    from router_sdk.exchange.observations import read_task
    from router_sdk.exchange.reading import rows_and_fault

    texts = TEXTS if mapping is None else TEXTS | mapping.texts
    for number, row in rows_and_fault(source, texts):
        answer: dict[str, Any] = {"line": number}
        try:
            if isinstance(row, Exception):
                raise row
            task, key = read_task(row, mapping)
            ranked = router.rank(task, top_k=top_k)
        except InvalidInputError as error:
            yield {**answer, "error": str(error)}
            continue
        except RouterError as error:  # such as a capability that nobody has
            yield {**answer, "error": f"{type(error).__name__}: {error}"}
            continue
        if key is not None:
            answer["id"] = key
        best = ranked[0] if ranked else None
        answer |= (
            {"agent": None, "score": None, "probability": None}
            if best is None
            else {
                "agent": best.agent,
                "score": best.score,
                "probability": best.probability,
            }
        )
        yield {**answer, "ranking": [one._asdict() for one in ranked]}


@contextmanager
def _writing(output: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Takes answers to a file that appears whole or not at all, or to stdout."""
    from router_sdk.exchange.exporting import replacing
    from router_sdk.exchange.lines import dumped
    from router_sdk.private_files import may_be_written

    if output == STDIN:
        yield lambda answer: print(dumped(answer))  # noqa: T201
        return
    path = Path(output)
    if path.suffix not in (".jsonl", ".csv"):
        raise InvalidInputError(f"--output {output}: expected a .jsonl or .csv file")
    with replacing(may_be_written(path)) as file:
        yield _csv(file) if path.suffix == ".csv" else lambda answer: print(dumped(answer), file=file)


def _csv(file: TextIO) -> Callable[[Mapping[str, Any]], None]:
    from router_sdk.exchange.lines import cells

    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    return lambda answer: writer.writerow(cells(answer))
