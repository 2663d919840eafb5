"""``router stream``: lines of JSON in and out; and outcomes from brokers, followed for as long as it is let."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli import following
from router_sdk.cli.commands.status import status
from router_sdk.cli.invocation import STDIN, Invocation, readable
from router_sdk.cli.stream import run_stream
from router_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from router_sdk.router import Router

_SAYS = 'a line is {"task": ...} to be routed, or {"decision_id": ..., "outcome": {...}} to be recorded'
_BROKER = "Brokers"
_ONLINE = "The process that learns"


def stream(
    invocation: Invocation,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Lines of JSON; - reads them from stdin.")] = STDIN,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            rich_help_panel=_BROKER,
            help="Follow a broker: kafka://HOST:9092/TOPIC, nats://HOST:4222/SUBJECT, redis://HOST:6379/KEY, each with "
            "?group=NAME; stdin: takes events from stdin. With ENABLE_KAFKA=true it is what KAFKA_BOOTSTRAP_SERVERS "
            "and KAFKA_OUTCOME_TOPIC say.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_BROKER, help="What events of other forms mean: TOML, YAML, JSON."
        ),
    ] = None,
    dead_letters: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=_BROKER,
            help="Where messages go that nobody understands, beside the store. Default: the topic with -dead-letters "
            "behind its name; none sends them nowhere.",
        ),
    ] = None,
    new_agents: Annotated[
        bool, typer.Option("--new-agents", rich_help_panel=_BROKER, help="Make agents of names that nobody knows.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="URL", rich_help_panel=_BROKER, help="Send the log's decisions and outcomes there instead."
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", rich_help_panel=_BROKER, help="End once nothing more has come for two seconds, or is to be sent."
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", rich_help_panel=_BROKER, help="Say whether the topic exists, and end.")
    ] = False,
    lag: Annotated[
        bool, typer.Option("--lag", rich_help_panel=_BROKER, help="Say how far behind the group is, and end.")
    ] = False,
    validate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_BROKER, help="Say of each line whether it is a valid event, and end."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", rich_help_panel=_BROKER, help="Show the JSON schema of an event, and end.")
    ] = False,
    warmup_from: Annotated[
        Path | None,
        typer.Option(
            "--warmup-from",
            metavar="DIR",
            rich_help_panel=_ONLINE,
            help="Where nothing was fitted yet, begin with this checkpoint, see router warm-up.",
        ),
    ] = None,
    warmup_data: Annotated[
        Path | None,
        typer.Option(
            "--warmup-data", metavar="FILE", rich_help_panel=_ONLINE, help="The labelled tasks that it is measured on."
        ),
    ] = None,
    soak_test: Annotated[
        bool, typer.Option("--soak-test", rich_help_panel=_ONLINE, help="Run router soak instead.")
    ] = False,
    duration_hours: Annotated[
        float,
        typer.Option(
            "--duration-hours", min=0.1, max=1_000.0, metavar="H", rich_help_panel=_ONLINE, help="With --soak-test."
        ),
    ] = 24.0,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only",
            rich_help_panel=_ONLINE,
            help="Show router status and end; with --soak-test the last soak's report.",
        ),
    ] = False,
) -> None:
    """Answer each line of JSON with a line of JSON, as it comes: tasks are routed, outcomes recorded.

    A line with a task, which may have exclude and idempotency_key beside it, is answered with a decision; one with a
    decision_id and an outcome, and an outcome_id where deliveries may repeat, once it is on disk. Bodies are those of
    /v1/route and /v1/outcomes of the service. A line that is refused is a line on stderr and a dead letter, and the
    rest goes on.

    With --from it follows a broker until Ctrl-C or SIGTERM: outcomes are logged in micro-batches, each counted once,
    and learnt. Of each event docs/streams.md and --schema say what it may hold. --config also understands the JSON of
    a neighbouring system's online learner, and says what becomes of each key.
    """
    if soak_test:
        following.soak_test(invocation, duration_hours, report_only=report_only)
        return
    if report_only:
        status(invocation)
        return
    if schema:
        following.show_schema(invocation)
        return
    if validate is not None:
        following.validate(invocation, readable(validate), mapping)
        return
    if to is not None:
        if from_ is not None:
            raise InvalidInputError("give --from, which reads outcomes in, or --to, which sends the log out, not both")
        following.publish(invocation, to, once=once)
        return
    told = following.told_by(invocation)
    address = following.address_of(from_, told)
    if check or lag:
        following.ask(invocation, address, lag=lag)
    elif address is not None:
        if source != STDIN:
            raise InvalidInputError("give a FILE of lines, or --from a broker, not both")
        warm_up = following.WarmUp.of(warmup_from, warmup_data, told)
        following.follow(invocation, following.Wanted(address, mapping, dead_letters, new_agents, once, warm_up, told))
    else:
        _answer(invocation, source)


def _answer(invocation: Invocation, source: str) -> None:
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
