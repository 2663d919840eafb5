"""``router status``: who answers and why, what was learnt, and what needs attention."""

from __future__ import annotations

from typing import Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.status_tables import status_tables


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
