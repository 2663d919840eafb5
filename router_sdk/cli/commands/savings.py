"""``router savings``: what was spent against what a baseline would have, and what quality came with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import note, pairs, visible
from router_sdk.spelling import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from router_sdk.evaluation.savings import Savings


def savings(
    invocation: Invocation,
    baseline: Annotated[
        str,
        typer.Option(metavar="NAME", help="best_single, dearest, previous_champion, or an agent's name."),
    ] = "best_single",
) -> None:
    """Show what was spent against what a baseline would have spent on the same tasks, and what quality came with each.

    It changes nothing.
    """
    with invocation.router(new=False, read_only=True) as router:
        found = router.savings(baseline)
    invocation.screen.show(found.to_dict(), lambda: _tables(found))


def _tables(found: Savings) -> Iterator[RenderableType]:
    if found.saved_usd is None or found.saved_usd_interval is None:
        yield note(f"Nothing can be said: {found.words}.")
        return
    low, high = found.saved_usd_interval
    agent = "" if found.agent in (None, found.baseline) else f", which is {found.agent}"
    told = {
        "Baseline": visible(f"{found.baseline}{agent}"),
        "Spent": f"${found.spent_usd:,.4f} on {counted(found.compared, 'execution')}",
        "It would have": f"${found.baseline_usd:,.4f}",
        "Saved": f"${found.saved_usd:,.4f}, 95 % between ${low:,.4f} and ${high:,.4f}"
        + ("" if found.saved_share is None else f" ({found.saved_share:.1%})"),
    }
    if found.reward is not None and found.reward_difference_interval is not None:
        low, high = found.reward_difference_interval
        told["Reward"] = (
            f"{found.reward:.3f}, and it would have earned {found.baseline_reward:.3f}; "
            f"95 % between {low:+.3f} and {high:+.3f}"
        )
    told["Left out"] = (
        f"{counted(found.unknown, 'execution')} of unknown cost, {counted(found.incomparable, 'execution')} of tasks "
        "of kinds on which the baseline is not known"
    )
    yield pairs(told.items(), "Savings")
