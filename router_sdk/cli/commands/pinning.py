"""``router pin`` and ``unpin``: whether fits may replace what serves."""

from __future__ import annotations

from typing import Annotated

import typer

from router_sdk.cli.invocation import Invocation
from router_sdk.cli.tables import note, visible


def pin(
    invocation: Invocation,
    strategy: Annotated[str, typer.Argument(help="Whose version.")],
    version: Annotated[int | None, typer.Argument(min=1, help="Which one is to serve; the one that serves.")] = None,
) -> None:
    """Keep what serves, whatever fits come to, until router unpin, promote or rollback."""
    with invocation.router(new=False) as router:
        number = router.models.pin(strategy, version)
    name = visible(strategy)
    what = f"{name} as it is without any fit" if number is None else f"Version {number} of {name}"
    invocation.screen.show(
        {"strategy": strategy, "version": number, "pinned": True},
        lambda: [f"{what} serves, and stays.", note(f"No fit replaces it before router unpin {strategy}.")],
    )


def unpin(invocation: Invocation, strategy: Annotated[str, typer.Argument(help="Whose version.")]) -> None:
    """Let fits that pass the gate replace what serves again."""
    with invocation.router(new=False) as router:
        router.models.unpin(strategy)
    invocation.screen.show(
        {"strategy": strategy, "pinned": False},
        lambda: [f"A fit of {visible(strategy)} that passes the gate replaces what serves again."],
    )
