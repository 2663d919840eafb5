"""``router route``: who should get this task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.invocation import Invocation, readable, text_or_stdin, typed_pairs
from router_sdk.cli.stream import run_stream
from router_sdk.cli.tables import note, pairs, share, table, visible, word
from router_sdk.errors import InvalidInputError
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.tree import Tree

    from router_sdk.records import Decision

_SHOWN = 10


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
        lambda: [table(counted(report.accepted, "task"), ["agent", "answered by", ">tasks"], rows, wide="agent")]
    )
    report.check()


def _told(decision: Decision, explain: bool) -> dict[str, Any]:
    return {**decision.to_dict(), **({"evidence": decision.explain()["evidence"]} if explain else {})}


def decision_tables(decision: Decision, *, explain: bool, known: bool = False) -> Iterator[RenderableType]:
    """Who gets it, who said so, and what else was possible; unless it is known how it went, how to say so."""
    from rich.text import Text

    answered = decision.strategy
    if decision.confidence is not None:
        answered += f", {share(decision.confidence)} confident of {_favourite(decision)}"
        if decision.raw_confidence is not None:
            answered += f" (calibrated; it said {share(decision.raw_confidence)})"
    told = {
        "decision": decision.decision_id,
        "answered by": answered,
        "drawn with": f"probability {word(decision.propensity)}{', to explore' if decision.explored else ''}",
        "passed over": "; ".join(f"{step.strategy} ({step.reason})" for step in decision.skipped) or "nobody",
    }
    proposed = decision.source == "shadow"
    if proposed:
        told["arm"] = f"{decision.arm}, a shadow: nobody acted on it, but on {decision.task.parent_decision_id}"
    elif decision.arm is not None:
        told["arm"] = f"{decision.arm}, to which {share(decision.arm_probability)} of the units came"
    if decision.excluded:
        told["not eligible"] = _excluded(decision)
    yield Text(visible(decision.agent or "no agent fits"), style="bold green")
    yield pairs((name, visible(value)) for name, value in told.items())
    rows = [
        [name, word(decision.probabilities[name]), word((decision.scores or {}).get(name))]
        for name in decision.ranking[:_SHOWN]
    ]
    if len(decision.ranking) > 1:
        yield table("Ranking", ["agent", ">probability", ">score"], rows, wide="agent")
        if len(decision.ranking) > _SHOWN:
            yield note(f"and {len(decision.ranking) - _SHOWN:,} more")
    if explain:
        yield _tree("evidence", decision.explain()["evidence"])
    if not known and not proposed:
        yield note(f"When you know how it went: router record {decision.decision_id} --success (or --failure)")


def _excluded(decision: Decision) -> str:
    """Who was not eligible, and why."""
    told = [f"{name} ({reason})" for name, reason in islice(decision.excluded.items(), _SHOWN)]
    more = len(decision.excluded) - _SHOWN
    return "; ".join(told) + (f" and {more:,} more" if more > 0 else "")


def _favourite(decision: Decision) -> str:
    position = decision.distribution.favourite
    return "no agent" if position < 0 else decision.distribution.agents.names[position]


def _tree(name: str, value: Any) -> Tree:
    """Nested values as a tree."""
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, key: str, item: Any) -> None:
        if isinstance(item, Mapping) and item:
            branch = tree.add(Text(key))
            for inner, held in item.items():
                grow(branch, str(inner), held)
        elif isinstance(item, (list, tuple)) and any(isinstance(held, Mapping) for held in item):
            for place, held in enumerate(item, start=1):
                grow(tree, f"{key} {place}", held)
        else:
            tree.add(Text.assemble((f"{visible(key)}: ", "dim"), word(item)))

    root = Tree(Text(name, style="bold"))
    for key, item in value.items():
        grow(root, str(key), item)
    return root
