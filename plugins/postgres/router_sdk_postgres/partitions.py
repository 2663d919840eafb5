"""The log's large tables in partitions by position, each about a stretch of time, so that old ones are dropped whole.

Positions are given in commit order, so that a range of them is a stretch of time, and ``seq`` stays the key. The last
partition has no upper bound: a record has a place whoever is late. Before the last but one is full, the last, which is
still empty, is bounded, and another one begins behind it; how many positions it takes follows from how fast they came.
The first has no lower bound: there stands what outlives a partition that is dropped.

PostgreSQL can keep a decision's id unique within a partition alone. So it is a trigger that looks, in all of them and
under the one lock of all who write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import Stretches
from router_sdk_postgres.faults import translated
from router_sdk_postgres.tables import indexes, rules

if TYPE_CHECKING:
    import psycopg

    from router_sdk.plugin import Schema

TABLES = {"decisions": "seq", "outcomes": "seq", "payloads": "seq", "vectors": "seq, encoder"}
"""What is partitioned, with its key: what leaves the log with old decisions."""
_DATED = ("decisions", "outcomes")
SETTINGS = "partitioning"
"""Table that says how long a partition is to last; where it is missing there are none."""
FEWEST = 100_000
"""Positions in the shortest partition: what is less is deleted row by row as well."""
_STEEPEST = 16
"""How many times as wide as the one before it a partition may be."""
_PATIENCE_MS = 100
"""Longest that whoever records waits while somebody reads the tables that are to be changed."""
_ONCE_MS = 10_000
"""The same where the tables are put into partitions for the first time."""
_DAY_S = 86_400.0
_BOUND = re.compile(r"FROM \((?:'?(\d+)'?|MINVALUE)\)")

_UNIQUE = """
CREATE OR REPLACE FUNCTION decisions_come() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh WHERE (SELECT count(*) FROM decisions d WHERE d.decision_id = fresh.decision_id) > 1)
    THEN RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = 'a decision of that id is in the log'; END IF;
    RETURN NULL;
END $body$;
CREATE OR REPLACE TRIGGER decisions_come AFTER INSERT ON decisions REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION decisions_come()"""


class Partitions(Stretches):
    """See ``Stretches``.

    Args:
        server: The connection to the server; its search path leads to the log's tables.
        span_s: How long a partition is to last, in seconds.
    """

    def __init__(self, server: psycopg.Connection[Any], span_s: float) -> None:
        self._server, self.span_s = server, span_s

    @classmethod
    def of(cls, server: psycopg.Connection[Any]) -> Partitions | None:
        """Those of a log, if it has any."""
        (there,) = server.execute("SELECT to_regclass(%s) IS NOT NULL", (SETTINGS,)).fetchone() or (False,)
        row = server.execute(f"SELECT days FROM {SETTINGS}").fetchone() if there else None
        return None if row is None else cls(server, _DAY_S * row[0])

    def cuts(self) -> list[int]:
        """See ``Stretches``."""
        with translated(self._server):
            return [start - 1 for start, _ in self._leaves("decisions")[1:]]

    def _leaves(self, table: str) -> list[tuple[int, str]]:
        """The partitions of a table: where each begins, and its name."""
        query = """SELECT pg_get_expr(c.relpartbound, c.oid), c.relname FROM pg_inherits i
                   JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"""
        found = self._server.execute(query, (table,)).fetchall()
        return sorted((int(told[1] or 0) if (told := _BOUND.search(bound)) else 0, name) for bound, name in found)

    def extend(self, head: int) -> None:
        """See ``Stretches``."""
        with translated(self._server):
            *_, (before, _), (last, _) = self._leaves("decisions")
            if head >= (before + last) / 2:
                self._begin_another(before, last, head)

    def _begin_another(self, before: int, last: int, head: int) -> None:
        width = min(max(FEWEST, int(self.span_s * self._pace(before, head))), _STEEPEST * max(FEWEST, last - before))
        end = max(last, head) + width
        self._lock()
        for table in TABLES:
            leaf = f"{table}_{last}"
            self._server.execute(f"ALTER TABLE {table} DETACH PARTITION {leaf}")
            self._server.execute(f"ALTER TABLE {table} ATTACH PARTITION {leaf} FOR VALUES FROM ({last}) TO ({end})")
            _make(self._server, table, end, f"FROM ({end}) TO (MAXVALUE)")

    def _pace(self, start: int, head: int) -> float:
        """Positions a second since a position."""
        query = " UNION ALL ".join(
            f"(SELECT seq, at FROM {table} WHERE seq >= %(start)s ORDER BY seq LIMIT 1)" for table in _DATED
        )
        first = self._server.execute(f"{query} ORDER BY seq LIMIT 1", {"start": start}).fetchone()
        return 0.0 if first is None else (head - first[0]) / max(1.0, time.time() - first[1])

    def drop(self, upto: int, kept: Collection[int]) -> None:
        """See ``Stretches``."""
        with translated(self._server):
            self._drop(upto, list(kept))

    def _drop(self, upto: int, kept: list[int]) -> None:
        self._lock()
        for table in TABLES:
            gone = [(start, leaf) for start, leaf in self._leaves(table) if start <= upto]
            for start, leaf in gone:
                self._server.execute(f"ALTER TABLE {table} DETACH PARTITION {leaf}")
                self._server.execute(f"ALTER TABLE {leaf} RENAME TO {table}_gone_{start}")
            first = _make(self._server, table, 0, f"FROM (MINVALUE) TO ({upto + 1})")
            for start, _ in gone:
                left = f"{table}_gone_{start}"
                if kept:
                    self._server.execute(f"INSERT INTO {first} SELECT * FROM {left} WHERE seq = ANY(%s)", (kept,))
                self._server.execute(f"DROP TABLE {left}")

    def _lock(self) -> None:
        """Wait until nobody reads the tables, a moment long: whoever comes to read them meanwhile waits as well."""
        self._server.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
        self._server.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")


def _make(server: psycopg.Connection[Any], table: str, start: int, bounds: str) -> str:
    """Make one partition, and return its name.

    Whoever reads beside the router reads the whole table, by its policies, and no partition past them.
    """
    leaf = f"{table}_{start}"
    server.execute(f"CREATE TABLE {leaf} PARTITION OF {table} FOR VALUES {bounds}")
    server.execute(f"ALTER TABLE {leaf} ENABLE ROW LEVEL SECURITY")
    return leaf


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
    found = Partitions.of(server)
    if found is not None:
        if found.span_s != _DAY_S * days:
            server.execute(f"UPDATE {SETTINGS} SET days = %s", (days,))
        return False
    server.execute(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {_ONCE_MS}")
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
        server.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
        _hand_on(server, leaf, table)
    for index, statement in indexes(schema).items():
        server.execute(statement.replace("INDEX ", "INDEX IF NOT EXISTS ", 1).replace(f'"{index}"', index))
    for table in TABLES:
        server.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_0 FOR VALUES FROM (MINVALUE) TO ({end})")
        _make(server, table, end, f"FROM ({end}) TO (MAXVALUE)")
    server.execute(rules(schema))
    server.execute(_UNIQUE)
    server.execute("CREATE INDEX decisions_by_id ON decisions (decision_id, seq)")
    return True


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
    """Allow of a table what was allowed of the one that is its partition now."""
    query = """SELECT a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
               FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
               WHERE c.oid = %s::regclass AND a.grantee != c.relowner"""
    for privilege, role in server.execute(query, (leaf,)).fetchall():
        server.execute(f"GRANT {privilege} ON {table} TO {role}")
