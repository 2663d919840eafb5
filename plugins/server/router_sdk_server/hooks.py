"""What the plugin registers: the commands ``serve`` and ``keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """``router serve`` and ``router keys``; the service itself is imported when it is to serve."""
    from router_sdk.cli import command
    from router_sdk_server.commands import keys, serve

    cli.command("serve")(command(serve))
    cli.add_typer(keys, name="keys")
