"""What the router finds of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_sdk.plugin import Engine


@hookimpl
def register_stores() -> Mapping[str, type[Engine]]:
    """The engine, under both schemes that PostgreSQL's own clients take."""
    from router_sdk_postgres.engine import PostgresEngine

    return {"postgresql": PostgresEngine, "postgres": PostgresEngine}
