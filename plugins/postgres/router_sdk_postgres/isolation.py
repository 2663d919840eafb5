"""Tenants kept apart by the database itself, for who reads the log beside the router: row-level security.

A session sees the rows of the tenant that it names (``SET router.tenant = 'acme'``), what hangs on them, and nothing
else; one that names none sees none. The owner of the tables is under no policy, and the router has to be: it learns for
all tenants. A router whose user is not the owner is told so by an error, see ``row_security`` in ``engine``, and reads
no part of the log as if it were the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from router_sdk_postgres.partitions import SETTINGS
from router_sdk_postgres.tables import tables_of

if TYPE_CHECKING:
    import psycopg

    from router_sdk.plugin import Schema

_OWN = "tenant = current_setting('router.tenant', true)"
_VISIBLE = {
    "decisions": _OWN,
    "pretraining": _OWN,
    "outcomes": "EXISTS (SELECT 1 FROM decisions d WHERE d.decision_id = outcomes.decision_id)",
    "payloads": "EXISTS (SELECT 1 FROM decisions d WHERE d.seq = payloads.seq) "
    "OR EXISTS (SELECT 1 FROM outcomes o WHERE o.seq = payloads.seq)",
    "vectors": "EXISTS (SELECT 1 FROM decisions d WHERE d.seq = vectors.seq)",
}
"""Which rows a session may read; of an outcome those whose decision it may, by that table's own policy."""
_COMMON = ("agents", "agent_sets")
"""What is nobody's. Of every other table nothing is seen."""
_BESIDE = ("artifacts", "writers", "release", SETTINGS)


def isolate(connection: psycopg.Connection[Any], schema: Schema, wanted: bool) -> None:
    """Put the policies on the tables, or take them away, where that was not done before; in the caller's transaction.

    Args:
        connection: Its search path leads to the log's tables.
        schema: The log's tables.
        wanted: Whether tenants are kept apart.
    """
    tables = [table.name for table in tables_of(schema) if table.name not in _COMMON]
    for name in _differing([*tables, *_BESIDE], connection, wanted):
        if name in _VISIBLE:
            connection.execute(f"DROP POLICY IF EXISTS tenants ON {name}")
        if wanted and name in _VISIBLE:
            connection.execute(f"CREATE POLICY tenants ON {name} FOR SELECT USING ({_VISIBLE[name]})")
        connection.execute(f"ALTER TABLE {name} {'ENABLE' if wanted else 'DISABLE'} ROW LEVEL SECURITY")


def _differing(names: Iterable[str], connection: psycopg.Connection[Any], wanted: bool) -> list[str]:
    """Those of the tables that are otherwise: to change one waits for whoever is at it."""
    query = "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass(%s)"
    found = {name: connection.execute(query, (name,)).fetchone() for name in names}
    return [name for name, secured in found.items() if secured not in (None, (wanted,))]


def isolates(connection: psycopg.Connection[Any]) -> bool:
    """Whether tenants are kept apart."""
    return not list(_differing(["meta"], connection, wanted=True))
