"""``router evaluate``: what another strategy, chain, configuration or version would have earned on the log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import NOTHING, counted, moment, note, pairs, share, table, visible
from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.off_policy import ESTIMATORS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.evaluation.off_policy import PolicyValue
    from router_sdk.evaluation.off_policy_report import OffPolicyReport, PolicyAnswer

_ALL = "all"


def evaluate(
    invocation: Invocation,
    strategy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A strategy; several times for a chain. Default: what is configured."),
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:N", help="A fitted version of one of them, such as bert:7; 0 is without any fit."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help="How long ago (7d, 12h, 2w), a time, a position, a decision's id, or all."),
    ] = "7d",
    upto: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Where the part ends: a time, a position, a decision's id."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="On this tenant's decisions alone; '' is those without one.")
    ] = None,
    task_type: Annotated[str | None, typer.Option(metavar="TYPE", help="On tasks of this type alone.")] = None,
    by_task_type: Annotated[bool, typer.Option("--by-task-type", help="Say it of each type of task, too.")] = False,
    by_tenant: Annotated[bool, typer.Option("--by-tenant", help="Say it of each tenant, too.")] = False,
    estimator: Annotated[
        str, typer.Option(metavar="NAME", help=f"How it is estimated: {', '.join(ESTIMATORS)}.")
    ] = "doubly_robust",
) -> None:
    """Say what another router would have earned on the log, and whether that is more. It changes nothing.

    It is asked about each decision before it learns what came of it, and begins as the log had taught it by then. With
    --config, what is configured there is judged. Where the log cannot tell, it says so, and how much more it takes.
    """
    with (
        invocation.router(new=False, read_only=True) as router,
        invocation.screen.progress("reading the log") as tell,
    ):
        report = router.experiments.off_policy_value(
            strategy or None,
            versions=_versions(version or ()),
            since=None if since == _ALL else since,
            upto=upto,
            tenant=tenant,
            task_type=task_type,
            estimator=estimator,
            progress=tell,
        )
    invocation.screen.show(report.to_dict(), lambda: _shown(report, by_task_type=by_task_type, by_tenant=by_tenant))


def _versions(given: Sequence[str]) -> dict[str, int]:
    """``["bert:7"]`` by name.

    Raises:
        InvalidInputError: if one is malformed, or names a strategy twice.
    """
    found: dict[str, int] = {}
    for one in given:
        name, _, number = one.rpartition(":")
        if not name or not number.isdecimal() or name in found:
            raise InvalidInputError(f"--version {one!r}: expected a strategy and a number, such as bert:7, each once")
        found[name] = int(number)
    return found


def _shown(report: OffPolicyReport, *, by_task_type: bool, by_tenant: bool) -> Iterable[RenderableType]:
    whole = report.overall
    rows = [
        [visible(report.policy), _mean(whole.value), _ends(whole.value), f"{whole.value.ess:,.0f}"],
        ["what served", _mean(whole.logged), _ends(whole.logged), f"{whole.logged.ess:,.0f}"],
    ]
    if whole.value.insufficient is None:
        gain = whole.difference
        rows.append(["difference", f"{gain.mean:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}", ""])
    title = f"Reward per task, on {counted(whole.value.decisions, 'decision')}"
    yield table(title, ["", ">mean", ">95 % sequence", ">worth"], rows, wide="")
    yield pairs([("verdict", sentence(whole)), *_facts(report)])
    if by_task_type:
        yield _groups("By type of task", "task type", [(one.task_type or "", one) for one in report.task_types])
    if by_tenant:
        yield _groups("By tenant", "tenant", [(one.tenant or NOTHING, one) for one in report.tenants])
    for words in report.notes:
        yield note(words)


def _facts(report: OffPolicyReport) -> Iterable[tuple[str, str]]:
    from router_sdk.experiments.off_policy import LEFT_OUT

    if report.first_at is not None and report.last_at is not None:
        yield "decisions", f"made from {moment(report.first_at)} to {moment(report.last_at)}"
    answered = ", ".join(f"{visible(name)} {share(part)}" for name, part in report.answered.items())
    yield "answered by", answered or NOTHING
    for reason, count in report.left_out.items():
        yield f"left out: {count:,}", LEFT_OUT[reason]


def sentence(answer: PolicyAnswer) -> str:
    """What an answer comes to, in words."""
    more = answer.more_to_separate
    match answer.verdict:
        case "better":
            return "better: it would have earned more than what served"
        case "worse":
            return "worse: it would have earned less than what served"
        case "insufficient":
            wait = answer.more_for_ess
            patience = f"; about {wait:,} more like these would do" if wait else ""
            return f"{answer.value.insufficient}{patience}"
        case _:
            patience = "no number of such decisions" if more is None else f"about {more:,} decisions more"
            return f"not told apart from what served; {patience} would tell, if all goes on like this"


def _groups(title: str, heading: str, answers: Sequence[tuple[str, PolicyAnswer]]) -> RenderableType:
    rows = [
        [
            visible(name),
            f"{one.value.decisions:,}",
            f"{one.value.ess:,.0f}",
            _mean(one.value),
            _ends(one.value),
            _mean(one.logged),
            one.verdict,
        ]
        for name, one in answers
    ]
    headings = [heading, ">decisions", ">worth", ">mean", ">95 % sequence", ">served", "verdict"]
    return table(title, headings, rows, wide="verdict")


def _mean(value: PolicyValue) -> str:
    return NOTHING if math.isnan(value.mean) or value.insufficient is not None else f"{value.mean:.3f}"


def _ends(value: PolicyValue) -> str:
    return f"{value.low:.3f} to {value.high:.3f}"
