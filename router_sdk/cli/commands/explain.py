"""``router explain``: one decision, why it was made, and all that was said of it since, by whom and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.commands.route import decision_tables
from router_sdk.cli.invocation import Invocation, text_or_stdin
from router_sdk.cli.tables import moment, note, pairs, table, visible, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.records import Decision, Example
    from router_sdk.store.copying import LoggedPart

_WHO = ("origin", "actor", "reason")
_LONGEST = 200


def explain(
    invocation: Invocation,
    decision_id: Annotated[str, typer.Argument(help="Which decision; - reads its id from stdin.")],
) -> None:
    """Show a decision, and what was said of it: what, by whom (a user, a judge, a quality scorer), and why.

    It changes nothing.
    """
    decision_id = text_or_stdin(decision_id)
    with invocation.router(new=False, read_only=True) as router:
        decision, parts = router.decision(decision_id), router.examples.parts(decision_id)
        example = router.examples.of(decision_id)
    told = {**decision.to_dict(), "reward": example and example.reward, "parts": [_row(part) for part in parts]}
    invocation.screen.show(told, lambda: _tables(decision, parts, example))


def _row(part: LoggedPart) -> dict[str, Any]:
    return {"position": part.position, "at": part.at, **part.outcome.model_dump(exclude_none=True)}


def _tables(decision: Decision, parts: Sequence[LoggedPart], example: Example | None) -> Iterator[RenderableType]:
    yield from decision_tables(decision, explain=False, known=bool(parts))
    if example is None:
        yield note("Nobody has said how it went.")
        return
    rows = []
    for part in parts:
        said = part.outcome.model_dump(exclude_none=True)
        origin, actor, reason = (str(said.pop(name, "")) for name in _WHO)
        what = "; ".join(f"{name} {word(value)}" for name, value in said.items())[:_LONGEST]
        rows.append([moment(part.at), visible(" ".join(filter(None, (origin, actor)))), visible(what), visible(reason)])
    yield table("What was said of it", ["when", "by whom", "what", "why"], rows, wide="why")
    yield pairs({"Reward": word(example.reward), "Quality": word(example.signals.quality)}.items())
