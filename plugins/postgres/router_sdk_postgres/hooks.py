"""What the router finds of this plugin."""

from __future__ import annotations

from collections.abc import Mapping

from router_sdk.plugin import hookimpl

_ENGINE = "router_sdk_postgres.engine:PostgresEngine"


@hookimpl
def register_stores() -> Mapping[str, str]:
    """The engine, under both schemes that PostgreSQL's own clients take; a router on SQLite does not import it."""
    return {"postgresql": _ENGINE, "postgres": _ENGINE}
