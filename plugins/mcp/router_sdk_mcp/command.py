"""``router mcp``: the server as a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from router_sdk import Router
from router_sdk_mcp import mcp_server


def mcp(
    transport: Annotated[
        Literal["stdio", "http"], Option(help="stdio, for a program that starts this one; or streamable HTTP.")
    ] = "stdio",
    host: Annotated[str, Option(metavar="HOST", help="Where HTTP listens; there is no log-in.")] = "127.0.0.1",
    port: Annotated[int, Option(metavar="PORT", help="Where HTTP listens; the path is /mcp.")] = 8000,
    tenant: Annotated[str | None, Option(metavar="NAME", help="Whose tasks these are, and no others.")] = None,
    store: Annotated[Path | None, Option(metavar="FILE", help="The log: a SQLite file.")] = None,
    config: Annotated[
        Path | None, Option(metavar="FILE", help="Configuration in TOML, YAML or JSON; router.toml, if any.")
    ] = None,
) -> None:
    """Serve the router over the Model Context Protocol, until its client goes or a signal comes."""
    if config is None and Path("router.toml").is_file():
        config = Path("router.toml")
    with Router(store=store, config=config) as router:
        server = mcp_server(router, tenant=tenant)
        if transport == "stdio":
            server.run("stdio")
        else:
            server.run("streamable-http", host=host, port=port)
