"""``router record``: how it went."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from router_sdk.cli.invocation import Invocation, readable, text_or_stdin, typed_pairs
from router_sdk.cli.stream import run_stream
from router_sdk.cli.tables import note
from router_sdk.errors import InvalidInputError, UnknownDecisionError
from router_sdk.records import Outcome
from router_sdk.spelling import counted


def record(
    invocation: Invocation,
    decision_id: Annotated[str, typer.Argument(help="Which decision; - reads its id from stdin.")] = "",
    success: Annotated[bool | None, typer.Option("--success/--failure", help="Whether it did what was asked.")] = None,
    quality: Annotated[float | None, typer.Option(metavar="0..1", help="How well.")] = None,
    feedback: Annotated[float | None, typer.Option(metavar="-1..1", help="What the user said.")] = None,
    feedback_text: Annotated[str | None, typer.Option(metavar="TEXT", help="The user's words.")] = None,
    correct_agent: Annotated[str | None, typer.Option(metavar="AGENT", help="Who would have been right.")] = None,
    no_agent_fits: Annotated[bool, typer.Option("--no-agent-fits", help="None of them would have been right.")] = False,
    response: Annotated[str | None, typer.Option(metavar="TEXT", help="What the agent answered.")] = None,
    latency_ms: Annotated[float | None, typer.Option(metavar="MS", help="Time taken.")] = None,
    cost_usd: Annotated[float | None, typer.Option(metavar="USD", help="Money spent.")] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens used.")] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Any further number.")] = None,
    error: Annotated[str | None, typer.Option(metavar="TEXT", help="The error that ended the call.")] = None,
    signal: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the user did: retry, edit, copy or abandon.")
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why you say so.")] = None,
    outcome_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Your own id of this message: a second one is not stored.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Record it for every decision of a session instead.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose decision it must be, or whose session it is; without it, nobody's."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Record each line of a JSONL file of outcomes instead; - reads stdin."),
    ] = None,
) -> None:
    """Record what happened after a decision; it is on disk when this returns.

    Parts may come late, repeated and in any order: a later part wins, field by field. With --batch each line
    has a decision_id, an outcome's fields, an outcome_id where deliveries may repeat, and a tenant where it is to be
    checked whose decision it is.
    """
    given = {
        "success": success,
        "quality": quality,
        "feedback": feedback,
        "feedback_text": feedback_text,
        "correct_agent": correct_agent,
        "no_agent_fits": no_agent_fits or None,
        "response": response,
        "latency_ms": latency_ms,
        "cost_usd": cost_usd,
        "tokens": tokens,
        "metrics": _numbers(metric or []),
        "error": error,
        "reason": reason,
        **({} if signal is None else {"origin": "signal", "actor": signal}),
    }
    fields = {name: value for name, value in given.items() if value is not None}
    if sum(map(bool, (decision_id, session, batch))) != 1:
        raise InvalidInputError("say what to record it for: a DECISION_ID, --session ID or --batch FILE, one of them")
    if batch is not None:
        if fields or outcome_id or tenant:
            raise InvalidInputError("--batch: the outcomes stand in the file; give no outcome options beside it")
        _record_stream(invocation, readable(batch))
    elif session is not None:
        if outcome_id:
            raise InvalidInputError("--outcome-id names the message for one decision; a session has many")
        with invocation.router(new=False) as router:
            count = router.record_session(session, Outcome(**fields), tenant=tenant)
        invocation.screen.show(
            {"session_id": session, "recorded": count},
            lambda: [f"Recorded for {counted(count, 'decision')} of {session}."],
        )
    else:
        _record_one(invocation, text_or_stdin(decision_id), Outcome(**fields), outcome_id, tenant)


def _record_one(
    invocation: Invocation, decision_id: str, outcome: Outcome, outcome_id: str | None, tenant: str | None
) -> None:
    with invocation.router(new=False) as router:
        router.record(decision_id, outcome, outcome_id=outcome_id, tenant=tenant)
        try:
            router.decision(decision_id)
            pending = False
        except UnknownDecisionError:
            pending = True
    told = {"decision_id": decision_id, "recorded": 1, "pending": pending}
    waits = [note("The log holds no such decision yet: the outcome waits for it. Check the id if that is a surprise.")]
    invocation.screen.show(told, lambda: [f"Recorded for {decision_id}.", *(waits if pending else [])])


def _record_stream(invocation: Invocation, source: str) -> None:
    with invocation.router(new=False, brief=False) as router:

        def carry_out(row: dict[str, Any]) -> dict[str, Any]:
            decision_id, *told = (row.pop(name, None) for name in ("decision_id", "outcome_id", "tenant"))
            if not isinstance(decision_id, str):
                raise InvalidInputError("decision_id: expected the id of a decision")
            router.record(decision_id, row, outcome_id=told[0], tenant=told[1])
            return {"decision_id": decision_id, "recorded": 1}

        report = run_stream(invocation, router, source, "outcome", carry_out)
    invocation.screen.summary(lambda: [f"Recorded {counted(report.accepted, 'outcome')}."])
    report.check()


def _numbers(given: list[str]) -> dict[str, float] | None:
    found = typed_pairs(given, "--metric")
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidInputError(f"--metric {name}: expected a number, got {value!r}")
    return {name: float(value) for name, value in found.items()} or None
