"""``router predict``: who would get each task of a file; nothing is logged."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from router_sdk.cli.commands.importing import MapOption, file_to_import, told_mapping
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.options import STDIN
from router_sdk.cli.tables import table, word
from router_sdk.errors import InvalidInputError, RouterError

if TYPE_CHECKING:
    from router_sdk.exchange.columns import ColumnMapping
    from router_sdk.router import Router

COLUMNS = ("line", "id", "agent", "score", "probability", "ranking", "error")
_TELL_EVERY = 100


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
                tell(f"predicting: {count:,} tasks", None)
    if output != STDIN:
        told = {"path": output, "tasks": chosen.total(), "refused": refused, "agents": dict(chosen)}
        rows = ([agent or "no agent fits", word(count)] for agent, count in chosen.most_common())
        invocation.screen.show(told, lambda: [table(f"{chosen.total():,} tasks", ["agent", ">tasks"], rows)])
    if refused:
        raise InvalidInputError(f"{refused:,} of {refused + chosen.total():,} tasks could not be read")


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

    if output == STDIN:
        yield lambda answer: print(dumped(answer))  # noqa: T201
        return
    path = Path(output)
    if path.suffix not in (".jsonl", ".csv"):
        raise InvalidInputError(f"--output {output}: expected a .jsonl or .csv file")
    with replacing(path) as file:
        yield _csv(file) if path.suffix == ".csv" else lambda answer: print(dumped(answer), file=file)


def _csv(file: TextIO) -> Callable[[Mapping[str, Any]], None]:
    from router_sdk.exchange.lines import cells

    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    return lambda answer: writer.writerow(cells(answer))
