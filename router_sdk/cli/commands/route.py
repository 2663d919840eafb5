"""``router route``: who should get this task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.decision_tables import decision_tables
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.options import readable, text_or_stdin, typed_pairs
from router_sdk.cli.stream import run_stream
from router_sdk.cli.tables import counted, table, word
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from router_sdk.records import Decision


def route(
    invocation: Invocation,
    text: Annotated[str, typer.Argument(help="What is to be done; - reads it from stdin.")] = "",
    task_type: Annotated[str | None, typer.Option(metavar="TYPE", help="A coarse kind, such as code.")] = None,
    feature: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A number, true, false or text; several times.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="The conversation or run it belongs to.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Whose task it is.")] = None,
    require: Annotated[
        list[str] | None, typer.Option(metavar="CAPABILITY", help="What the agent must be able to do; several times.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="AGENT", help="Who must not get it; several times.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="What a call may cost; dearer agents do not get it.")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="How long a call may take; slower agents do not get it.")
    ] = None,
    history: Annotated[
        list[str] | None, typer.Option(metavar="AGENT", help="Who acted before, oldest first; several times.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key gives the same decision, from every process.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say on what evidence.")] = False,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Route each line of a JSONL file of tasks instead; - reads stdin."),
    ] = None,
) -> None:
    """Choose an agent for a task, and log the decision.

    The decision's id is what router record takes. With --batch each line is a task's fields as JSON, or a JSON text;
    idempotency_key and exclude may stand there too. --json then answers each line as it comes, with one line.
    """
    fields: dict[str, Any] = {
        "text": text_or_stdin(text),
        "task_type": task_type,
        "features": typed_pairs(feature or (), "--feature"),
        "session_id": session,
        "tenant": tenant,
        "requires": require,
        "history": history,
        "max_cost_usd": max_cost_usd,
        "max_latency_ms": max_latency_ms,
    }
    task = {name: value for name, value in fields.items() if value or value == 0.0}  # a call may have to be free
    if batch is None:
        with invocation.router() as router:
            router.warm_up()
            decision = router.route(task, exclude=exclude or (), idempotency_key=idempotency_key)
        invocation.screen.show(_told(decision, explain), lambda: decision_tables(decision, explain=explain))
    elif task or idempotency_key:
        raise InvalidInputError("--batch: the tasks stand in the file; give no text or task options beside it")
    else:
        _route_stream(invocation, readable(batch), exclude or [], explain)


def _route_stream(invocation: Invocation, source: str, exclude: list[str], explain: bool) -> None:
    chosen: Counter[tuple[str | None, str]] = Counter()
    with invocation.router(brief=False) as router:
        router.warm_up()

        def carry_out(row: dict[str, Any]) -> dict[str, Any]:
            key, barred = row.pop("idempotency_key", None), row.pop("exclude", [])
            if not isinstance(barred, list):
                raise InvalidInputError("exclude: expected a list of names")
            decision = router.route(row, exclude=[*exclude, *map(str, barred)], idempotency_key=key)
            chosen[decision.agent, decision.strategy] += 1
            return _told(decision, explain)

        report = run_stream(invocation, router, source, "task", carry_out)
    rows = ([agent or "no agent fits", strategy, word(count)] for (agent, strategy), count in chosen.most_common())
    invocation.screen.summary(
        lambda: [table(counted(report.accepted, "task"), ["agent", "answered by", ">tasks"], rows)]
    )
    report.check()


def _told(decision: Decision, explain: bool) -> dict[str, Any]:
    return {**decision.to_dict(), **({"evidence": decision.explain()["evidence"]} if explain else {})}
