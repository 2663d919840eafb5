"""``router tune-thresholds``: below which confidence each strategy should hand a task on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import NOTHING, note, share, table, visible, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router_sdk.evaluation.thresholds import Threshold


def tune_thresholds(
    invocation: Invocation,
    cost_of_handing_on: Annotated[
        float, typer.Option(min=0.0, metavar="N", help="What it costs that the next one is asked, in wrong answers.")
    ] = 0.0,
    newest: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest outcomes judge.")] = 5_000,
) -> None:
    """Find below which confidence each strategy should hand on, off the log. It changes nothing.

    It teaches each strategy the log again, and asks it about each task before it learns what came of it.
    """
    with invocation.router(new=False) as router:
        found = router.models.tune_thresholds(cost_of_handing_on=cost_of_handing_on, newest=newest)
        now = {one["name"]: one for one in router.status()["strategies"]}
    wanted = {one.strategy: {"confidence_threshold": one.value} for one in found if one.value is not None}
    told = [
        {
            **one.to_dict(),
            "now": now[one.strategy]["confidence_threshold"],
            "now_from": now[one.strategy]["confidence_threshold_from"],
        }
        for one in found
    ]
    invocation.screen.show({"thresholds": told, "strategy": wanted}, lambda: _thresholds(told, found))


def _thresholds(told: Sequence[dict[str, Any]], found: Sequence[Threshold]) -> Sequence[RenderableType]:
    if not found:
        return [note("One strategy alone hands nothing on.")]
    rows = [
        [
            visible(one.strategy),
            f"{word(row['now'])} ({row['now_from']})",
            NOTHING if one.value is None else word(one.value),
            share(one.handed_on),
            f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f})" if one.value else NOTHING,
            visible(one.reason),
        ]
        for row, one in zip(told, found, strict=True)
    ]
    headings = ["strategy", ">now", ">best", ">hands on", ">reward per task", "why"]
    settings = [f"[strategy.{one.strategy}]\nconfidence_threshold = {one.value:g}" for one in found if one.value]
    return [
        table("Below which confidence a strategy should hand on", headings, rows, wide="why", last=("strategy",)),
        *(note(f"For the configuration file:\n{visible(each)}") for each in settings),
    ]
