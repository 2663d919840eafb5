"""What the plugin registers: ``router mcp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(cli: typer.Typer) -> None:
    """The command that serves the router to programs that speak the protocol."""
    from router_sdk.cli import command
    from router_sdk_mcp.command import mcp

    cli.command("mcp")(command(mcp))
