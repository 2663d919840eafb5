"""``router status``: who answers and why, which version serves and why, what was learnt, and what needs attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.experiment_tables import experiment_tables
from router_sdk.cli.invocation import Invocation
from router_sdk.cli.model_tables import serving_tables
from router_sdk.cli.tables import dollars, milliseconds, moment, note, pairs, share, table, visible, word
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_REASONS = 3


def status(
    invocation: Invocation,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many updates and dead letters to show.")] = 5,
) -> None:
    """Show agents, who answers and why, what was learnt, and what was refused.

    It learns nothing and changes nothing: what it shows is what a router would start from.
    """
    with invocation.router(new=False, read_only=True) as router:
        report = router.status(last=last)
    invocation.screen.show(report, lambda: status_tables(report))


def status_tables(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Everything that ``router status`` shows, in order."""
    yield _store(report)
    yield from _alerts(report)
    yield _chain(report)
    yield from serving_tables(report["models"])
    yield from experiment_tables(report["experiments"], report["challengers"])
    yield from _confidence(report)
    yield from _quality(report["quality"])
    yield from _encoders(report)
    if report["performance"]:
        yield _agents(report)
    else:
        yield note("No agents yet: router agents add NAME, or router init for a configuration that lists them.")
    yield _statistics(report["statistics"])
    yield from _streams(report["streams"])
    yield from _events(report)
    yield from _letters(report)


def _store(report: Mapping[str, Any]) -> Table:
    store, learner = report["store"], report["learner"]
    behind = max((learner["head"] - saved for saved in learner["snapshots"].values()), default=0)
    told = {
        "Store": visible(store["path"]),
        "Privacy": f"texts are kept: {store['privacy']}",
        "Log": f"{counted(store['decisions'], 'decision')}; {counted(store['outcomes'], 'outcome')}, "
        f"{store['pending']:,} of them waiting for their decision",
        "Learnt": f"{behind:,} of {counted(learner['head'], 'event')} to replay at the next start",
    }
    if learner["faults"]:
        told["Broken"] = "; ".join(f"{visible(name)}: {visible(reason)}" for name, reason in learner["faults"].items())
    if learner["refused"]:
        each = "; ".join(f"{visible(name)}: {count:,}" for name, count in learner["refused"].items())
        told["Not learnt"] = f"{each} of the decisions, see the dead letters"
    if report["quarantines"]:
        told["Quarantined"] = "; ".join(
            f"{one['number']}: {visible(one['strategy'] or 'all strategies')} leave out {one['from_seq']:,} to "
            f"{one['upto_seq']:,} ({visible(one['reason'])})"
            for one in report["quarantines"]
        )
    if learner["unheeded"]:
        told["Not as due"] = "; ".join(f"{visible(one)}: {visible(why)}" for one, why in learner["unheeded"].items())
    behind_the_log = [f"{stage['name']}: {stage['behind']}" for stage in report["strategies"] if stage["behind"]]
    if behind_the_log:
        told["Behind"] = visible("; ".join(behind_the_log))
    if report["upkeep"]["unfinished"]:
        told["Unfinished"] = "; ".join(
            f"{word(one['kind'])} of {moment(one['since'])}, goes on when a router next has the store open"
            for one in report["upkeep"]["unfinished"]
        )
    return pairs(told.items())


def _alerts(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What is beyond its threshold, the oldest first."""
    alerts = report["alerts"]
    if alerts:
        yield table(
            "Alerts",
            ["since", "figure", "of", "what"],
            (
                [moment(one["since"]), one["name"], visible(one["subject"] or ""), visible(one["words"])]
                for one in alerts
            ),
            wide="what",
            last=("of", "figure"),
        )


def _chain(report: Mapping[str, Any]) -> RenderableType:
    """The strategies in the order in which they are asked, with their share of the newest decisions."""
    lately = {row["strategy"]: row for row in report["answered"]}
    serving = {stage["name"]: stage for stage in report["strategies"]}
    chain = [stage["name"] for stage in report["strategies"]]
    others = [name for name in lately if name not in chain]
    cursors = report["learner"]["cursors"]
    rows = []
    for name in [*chain, *others]:
        row = lately.get(name, {})
        reasons = [f"{step['reason']} ({step['decisions']:,})" for step in report["passed"] if step["strategy"] == name]
        rows.append(
            [
                visible(name) + (_version(serving[name]) if name in serving else ""),
                share(row.get("share")) + _by_version(row, serving.get(name)),
                share(row.get("mean_confidence")),
                share(row.get("explored")),
                word(cursors.get(name, cursors.get(f"{name}.tenants"))),
                visible("; ".join(reasons[:_REASONS])),
            ]
        )
    return table(
        "Who answers, in the order of the chain",
        ["strategy", ">answered", ">confident", ">explored", ">learnt to", "why it passed"],
        rows,
        wide="why it passed",
        last=("strategy",),
    )


def _confidence(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What each strategy's confidence rests on, and below which it hands on."""
    for stage in report["strategies"]:
        known, threshold = stage["calibration"], stage["confidence_threshold"]
        words = f"calibrated by {counted(known['pairs'], 'outcome')}" if known["calibrated"] else known["note"]
        below = f"; below {word(threshold)} it hands on ({stage['confidence_threshold_from']})" if threshold else ""
        yield note(f"Confidence of {visible(stage['name'])}: {visible(words)}{visible(below)}")


def _quality(quality: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Who scores what nobody judged, and how much each has said."""
    if not quality["scorers"]:
        return
    said = [f"{visible(name)} {one['parts']:,} (mean {word(one['mean'])})" for name, one in quality["said"].items()]
    yield note(f"Quality by {', '.join(map(visible, quality['scorers']))}: {'; '.join(said) or 'nothing yet'}")
    for name, why in quality["waits"].items():
        yield note(f"Quality scorer {visible(name)} says nothing yet: {visible(why)}")
    if quality["failed"]:
        yield note(f"Quality scorers that failed, see the log: {', '.join(map(visible, quality['failed']))}")


def _encoders(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What is not as it was asked for, of the encoders of those that report one."""
    for stage in report["strategies"]:
        encoder = stage.get("encoder")
        if isinstance(encoder, Mapping) and encoder.get("note"):
            yield note(f"The encoder of {stage['name']}: {encoder['note']}")


def _version(stage: Mapping[str, Any]) -> str:
    """Which fitted version serves, if one does, and whether a person chose it."""
    version = "" if stage["model_version"] is None else f" v{stage['model_version']}"
    marks = [mark for mark in ("pinned", "behind") if stage[mark]]
    return version + (f" ({', '.join(marks)})" if marks else "")


def _by_version(row: Mapping[str, Any], stage: Mapping[str, Any] | None) -> str:
    """How much of a strategy's decisions each version made, where not all are of the one that serves."""
    versions = row.get("versions", {})
    if stage is None or not row or versions.get(str(stage["model_version"])) == row["decisions"] or not versions:
        return ""
    each = row["share"] / row["decisions"]
    parts = [f"v{version} {share(each * count)}" for version, count in versions.items()]
    return f" ({', '.join(parts)})"


def _agents(report: Mapping[str, Any]) -> RenderableType:
    available = set(report["agents"]["available"])
    return table(
        "Agents over their last 100 executions, best first",
        [">", "agent", ">score", ">runs", ">reward", ">success", ">quality", ">latency", ">cost"],
        (
            [
                word(one["rank"]),
                visible(one["agent"]) + ("" if one["agent"] in available else " (off)"),
                word(one["score"]),
                word(one["executions"]),
                word(one["last_100"]["reward"]),
                share(one["last_100"]["success"]),
                word(one["last_100"]["quality"]),
                milliseconds(one["last_100"]["latency_ms"]),
                dollars(one["last_100"]["cost_usd"]),
            ]
            for one in report["performance"]
        ),
        wide="agent",
    )


def _statistics(found: Mapping[str, Any]) -> Table:
    nobody = {"no agent fits": found["no_agent_fits"]} if found["no_agent_fits"] else {}
    labels = {**found["label_distribution"], **nobody}
    improvement = found["improvement_rate"]
    silent, efficiency = found["taught_nothing"], found["learning_efficiency"]
    return pairs(
        {
            "Examples": f"{found['total_examples']:,}, {share(found['feedback_rate'])} with feedback "
            f"(positive: {share(found['positive_feedback_rate'])}), mean quality {word(found['avg_quality_score'])}"
            + (f"; {silent:,} taught nothing, because they do not say how it went" if silent else ""),
            "Labels": word(labels),
            "Reward": f"{word(found['current_model_score'])} over the last 100 outcomes"
            + ("" if improvement is None else f", {improvement:+.1%} against the 100 before"),
            "Updates": f"{found['total_updates']:,}, {found['failed_updates']:,} failed, "
            f"{milliseconds(found['avg_update_time_ms'])} each, {found['updates_per_minute']:.1f} a minute, "
            f"{counted(found['samples_processed'], 'sample')}"
            + ("" if efficiency is None else f", {efficiency:+.3f} reward per 100 examples"),
            "Fits": f"{found['retrain_count']:,} came to serve, {found['encoder_retrain_count']:,} of them moved an "
            f"encoder, {found['refused_fits']:,} refused, {found['failed_fits']:,} failed",
            "Versions": f"{share(found['gate_pass_rate'])} of the candidates passed the gate, "
            f"{found['refused_candidates']:,} were refused; {counted(found['rollbacks'], 'rollback')}, "
            f"{found['violations']:,} of them by itself",
            "Savings": visible(found["savings"]["best_single"]["words"]),
            **(
                {}
                if found["canary_pass_rate"] is None
                else {"Canary": f"{share(found['canary_pass_rate'])} of the golden tasks are answered as they must be"}
            ),
        }.items(),
        "What was learnt",
    )


def _streams(streams: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """How each process does on each stream, as it said last."""
    if streams:
        yield table(
            "Streams",
            ["as of", "stream", "state", ">logged", ">refused", ">again", ">a second", ">behind", "last fault"],
            (
                [
                    moment(one["at"]),
                    visible(one["stream"]),
                    one["state"],
                    *(f"{one[name]:,}" for name in ("stored", "refused", "again")),
                    f"{one['rate']:,.1f}",
                    word(one["behind"]),
                    visible(one["error"] or ""),
                ]
                for one in streams
            ),
            wide="last fault",
            last=("stream",),
        )


def _events(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    events = report["learning_events"]
    if not events:
        yield note("No updates yet: they follow outcomes, see router record.")
        return
    yield table(
        f"Newest updates, of {report['store']['learning_events']:,}",
        ["when", "strategy", "type", ">samples", ">took", ">reward", "fault"],
        (
            [
                moment(event["at"]),
                visible(event["strategy"]),
                event["type"],
                word(event["samples"]),
                milliseconds(event["duration_ms"]),
                word(event["metrics_after"]),
                visible(_fault(event)),
            ]
            for event in events
        ),
        wide="fault",
        last=("strategy",),
    )


def _fault(event: Mapping[str, Any]) -> str:
    """What went wrong; of a fit that was refused stands above why."""
    error = event["error"] or ""
    return error.partition(":")[0] if event["status"] == "refused" else error


def _letters(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    letters = report["dead_letters"]
    if letters:
        yield table(
            f"Newest dead letters, of {report['store']['dead_letters']:,}: refused, and why",
            ["when", "kind", "reason"],
            ([moment(letter["at"]), letter["kind"], visible(letter["reason"])] for letter in letters),
            wide="reason",
        )
