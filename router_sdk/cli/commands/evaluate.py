"""``router evaluate``: what another strategy, chain, configuration or version would have earned on the log.

With ``--from``, on exported files of any length: who did how, and what a simple policy would have earned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import NOTHING, moment, note, pairs, share, table, visible
from router_sdk.errors import InvalidInputError
from router_sdk.evaluation.off_policy import ESTIMATORS
from router_sdk.exchange.reading import moment as moment_of
from router_sdk.experiments.exported_log import POLICIES
from router_sdk.records.arguments import age
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.evaluation.off_policy import PolicyValue
    from router_sdk.evaluation.off_policy_report import OffPolicyReport, PolicyAnswer
    from router_sdk.experiments.exported_log import AgentFigures

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
        str | None,
        typer.Option(
            metavar="WHEN",
            help="How long ago (7d, 12h, 2w), a time, a position, a decision's id, or all. Default: 7d; of files all.",
            show_default=False,
        ),
    ] = None,
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
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Read what router export --format parquet wrote, not the log."),
    ] = None,
    policy: Annotated[str | None, typer.Option(metavar="POLICY", help=f"With --from: {POLICIES}.")] = None,
) -> None:
    """Say what another router would have earned on the log, and whether that is more. It changes nothing.

    It is asked about each decision before it learns what came of it, and begins as the log had taught it by then. With
    --config, what is configured there is judged. Where the log cannot tell, it says so, and how much more it takes.
    """
    if from_ is not None:
        if strategy or version or upto:
            raise InvalidInputError("--from: strategies are asked about a log; name a --policy, or import the files")
        _of_files(invocation, from_, policy, since, (tenant, task_type), estimator, (by_task_type, by_tenant))
        return
    if policy is not None:
        raise InvalidInputError("--policy: is for files; name them with --from")
    since = since or "7d"
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


def _of_files(
    invocation: Invocation,
    path: Path,
    policy: str | None,
    since: str | None,
    of: tuple[str | None, str | None],
    estimator: str,
    groups: tuple[bool, bool],
) -> None:
    """Who did how in exported files, and what a policy would have earned."""
    from router_sdk.experiments.exported_log import ExportedLog

    begin = None if since in (None, _ALL) else age(since) or moment_of(since, "since")
    with ExportedLog(path, since=begin, tenant=of[0], task_type=of[1]) as log:
        agents = log.agents()
        report = None
        if policy is not None:
            with invocation.screen.progress("reading the files") as tell:
                report = log.judge(policy, estimator=estimator, progress=tell)
    told = {"agents": [one.to_dict() for one in agents], **({} if report is None else report.to_dict())}

    def shown() -> Iterable[RenderableType]:
        yield _agents(agents)
        if report is not None:
            yield from _shown(report, by_task_type=groups[0], by_tenant=groups[1])

    invocation.screen.show(told, shown)


def _agents(found: Sequence[AgentFigures]) -> RenderableType:
    rows = [
        [
            "no agent fits" if one.agent is None else visible(one.agent),
            f"{one.decisions:,}",
            f"{one.answered:,}",
            NOTHING if one.reward is None else f"{one.reward:.3f}",
            share(one.success),
            NOTHING if one.latency_p95_ms is None else f"{one.latency_p95_ms:,.0f}",
            NOTHING if one.cost_usd is None else f"{one.cost_usd:.5f}",
        ]
        for one in found
    ]
    headings = ["agent", ">decisions", ">answered", ">reward", ">success", ">p95 ms", ">USD a task"]
    return table("Who acted", headings, rows, wide="agent")


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
            patience = "no number of such decisions" if more is None else f"about {counted(more, 'decision')} more"
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
