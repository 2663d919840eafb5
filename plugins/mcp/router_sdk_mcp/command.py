"""``router mcp``: the server as a process of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Option

from router_sdk.cli import Invocation
from router_sdk_mcp import mcp_server


def mcp(
    invocation: Invocation,
    transport: Annotated[
        Literal["stdio", "http"], Option(help="stdio, for a program that starts this one; or streamable HTTP.")
    ] = "stdio",
    host: Annotated[str, Option(metavar="ADDRESS", help="Where HTTP listens; there is no log-in.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Where HTTP listens, at /mcp; 0 takes a free port.")] = 8000,
    tenant: Annotated[str | None, Option(metavar="NAME", help="Whose tasks these are, and no others.")] = None,
) -> None:
    """Serve the router over the Model Context Protocol, until its client goes or a signal comes."""
    with invocation.router(brief=False) as router:
        server = mcp_server(router, tenant=tenant)
        if transport == "stdio":
            server.run("stdio")
        else:
            server.run("streamable-http", host=host, port=port)
