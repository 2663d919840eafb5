"""``router stream``: a program of any language talks to a router by lines of JSON, in and out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.invocation import STDIN, Invocation, readable
from router_sdk.cli.stream import run_stream
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from router_sdk.router import Router

_SAYS = 'a line is {"task": ...} to be routed, or {"decision_id": ..., "outcome": {...}} to be recorded'


def stream(
    invocation: Invocation,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Lines of JSON; - reads them from stdin.")] = STDIN,
) -> None:
    """Answer each line of JSON with a line of JSON, as it comes: tasks are routed, outcomes recorded.

    A line with a task, which may have exclude and idempotency_key beside it, is answered with a decision; one with a
    decision_id and an outcome, and an outcome_id where deliveries may repeat, once it is on disk. Bodies are those of
    /v1/route and /v1/outcomes of the service. A line that is refused is a line on stderr and a dead letter, and the
    rest goes on.
    """
    spoken = replace(invocation, as_json=True)
    with invocation.router(brief=False) as router:
        router.warm_up()
        report = run_stream(spoken, router, readable(source), "line", lambda row: _carried_out(router, row))
    report.check()


def _carried_out(router: Router, row: dict[str, Any]) -> dict[str, Any]:
    if row.keys() <= {"task", "exclude", "idempotency_key"} and "task" in row:
        exclude = row.get("exclude", [])
        if not isinstance(exclude, list):
            raise InvalidInputError("exclude: expected a list of names")
        return router.route(row["task"], exclude=exclude, idempotency_key=row.get("idempotency_key")).to_dict()
    if row.keys() <= {"decision_id", "outcome", "outcome_id", "tenant"} and {"decision_id", "outcome"} <= row.keys():
        told = {name: row.get(name) for name in ("outcome_id", "tenant")}
        router.record(row["decision_id"], row["outcome"], **told)
        return {"decision_id": row["decision_id"], "recorded": 1}
    raise InvalidInputError(_SAYS)
