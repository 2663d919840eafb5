"""Tables that are there become the first partitions, as they are.

PostgreSQL can keep a decision's id unique within a partition alone. So it is a trigger that looks, in all of them and
under the one lock of all who write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_sdk.plugin import InvalidConfigError
from router_sdk_postgres.partitions import DAY_S, FEWEST, SETTINGS, TABLES, Partitions, give_to_owner_of, make_partition
from router_sdk_postgres.tables import indexes, rules

if TYPE_CHECKING:
    import psycopg

    from router_sdk.plugin import Schema

_PATIENCE_MS = 10_000
"""Longest that is waited for whoever reads the tables."""
_UNIQUE = """
CREATE OR REPLACE FUNCTION decisions_come() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh WHERE (SELECT count(*) FROM decisions d WHERE d.decision_id = fresh.decision_id) > 1)
    THEN RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = 'a decision of that id is in the log'; END IF;
    RETURN NULL;
END $body$;
CREATE OR REPLACE TRIGGER decisions_come AFTER INSERT ON decisions REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION decisions_come()"""

_READERS = {
    "views": """SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = ANY(%s::regclass[])
        AND r.ev_class != d.refobjid ORDER BY 1""",
    "publications": """SELECT DISTINCT p.pubname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
        WHERE r.prrelid = ANY(%s::regclass[]) ORDER BY 1""",
}
"""By kind, what names a table once and for all, whatever its name is by then."""
_ALLOWED = """
SELECT a.privilege_type, told.of, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
       CASE WHEN a.is_grantable THEN 'WITH GRANT OPTION' ELSE '' END
FROM (SELECT relacl AS acl, '' AS of FROM pg_class WHERE oid = %(leaf)s::regclass
      UNION ALL SELECT attacl, '(' || quote_ident(attname) || ')' FROM pg_attribute
      WHERE attrelid = %(leaf)s::regclass AND attacl IS NOT NULL) AS told
CROSS JOIN aclexplode(told.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee != (SELECT relowner FROM pg_class WHERE oid = %(leaf)s::regclass)"""
"""What whom is allowed of a table, or of one of its columns."""


def partition(server: psycopg.Connection[Any], schema: Schema, days: float, lock: int) -> bool:
    """Have each partition last so many days from now on; in a transaction of the caller's.

    Tables that are in no partitions become the first ones as they are: each is read once.

    Args:
        server: Its search path leads to the log's tables.
        schema: The log's tables.
        days: About how long a partition is to last.
        lock: Key of the advisory lock of those who write.

    Returns:
        Whether they were in none, and have to be given their policies again.
    """
    found = Partitions.of(lambda: server)
    if found is not None:
        if found.span_s != DAY_S * days:
            server.execute(f"UPDATE {SETTINGS} SET days = %s", (days,))
        return False
    server.execute(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {_PATIENCE_MS}")
    _refuse_readers(server)
    server.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
    server.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
    server.execute(f"CREATE TABLE {SETTINGS} (days double precision NOT NULL)")
    server.execute(f"INSERT INTO {SETTINGS} VALUES (%s)", (days,))
    heads = " UNION ALL ".join(f"SELECT max(seq) AS seq FROM {table}" for table in TABLES)
    (head,) = server.execute(f"SELECT coalesce(max(seq), 0) FROM ({heads}) AS heads").fetchone() or (0,)
    end = head + FEWEST
    for table, key in TABLES.items():
        leaf = f"{table}_0"
        _set_aside(server, table, leaf)
        server.execute(
            f"CREATE TABLE {table} (LIKE {leaf} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
            "PARTITION BY RANGE (seq)"
        )
        give_to_owner_of(server, table, leaf)
        server.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
        _hand_on(server, leaf, table)
    for index, statement in indexes(schema).items():
        server.execute(statement.replace("INDEX ", "INDEX IF NOT EXISTS ", 1).replace(f'"{index}"', index))
    for table in TABLES:
        server.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_0 FOR VALUES FROM (MINVALUE) TO ({end})")
        make_partition(server, table, end, f"FROM ({end}) TO (MAXVALUE)")
    server.execute(rules(schema))
    server.execute(_UNIQUE)
    server.execute("CREATE INDEX decisions_by_id ON decisions (decision_id, seq)")
    return True


def _refuse_readers(server: psycopg.Connection[Any]) -> None:
    """A view or a publication would go on with the table that becomes the first partition, and nothing else."""
    for kind, query in _READERS.items():
        if found := [name for (name,) in server.execute(query, (list(TABLES),)).fetchall()]:
            raise InvalidConfigError(
                f"store: partition_days: {', '.join(found)} would read the first partition alone; drop these {kind}, "
                "and make them again once the log is in partitions"
            )


def _set_aside(server: psycopg.Connection[Any], table: str, leaf: str) -> None:
    """Give a table, and its indexes, the names of a partition; what holds of the whole stands there no more."""
    if table == "decisions":
        server.execute(f"ALTER TABLE {table} DROP CONSTRAINT decisions_decision_id_key")
    query = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s"
    for (index,) in server.execute(query, (table,)).fetchall():
        server.execute(f"ALTER INDEX {index} RENAME TO {index}_0")
    server.execute(f"ALTER TABLE {table} RENAME TO {leaf}")
    server.execute(f"DROP TRIGGER IF EXISTS {table}_come ON {leaf}; DROP POLICY IF EXISTS tenants ON {leaf}")
    server.execute(f"ALTER TABLE {leaf} ENABLE ROW LEVEL SECURITY")


def _hand_on(server: psycopg.Connection[Any], leaf: str, table: str) -> None:
    """Allow of a table, and of its columns, what was allowed of the one that is its partition now."""
    for privilege, of, role, option in server.execute(_ALLOWED, {"leaf": leaf}).fetchall():
        server.execute(f"GRANT {privilege} {of} ON {table} TO {role} {option}")
