"""The log's large tables in partitions by position, each about a stretch of time, so that old ones are dropped whole.

Positions are given in commit order, so that a range of them is a stretch of time, and ``seq`` stays the key. The last
partition has no upper bound: a record has a place whoever is late. Before the last but one is full, the last, which is
still empty, is bounded, and another one begins behind it; how many positions it takes follows from how fast they came.
The first has no lower bound: there stands what outlives a partition that is dropped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from router_sdk.plugin import Stretches
from router_sdk_postgres.faults import translated

if TYPE_CHECKING:
    import psycopg


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
DAY_S = 86_400.0
_BOUND = re.compile(r"FROM \((?:'?(\d+)'?|MINVALUE)\)")


class Partitions(Stretches):
    """See ``Stretches``.

    Args:
        server: Says which connection to ask; its search path leads to the log's tables.
        span_s: How long a partition is to last, in seconds.
    """

    def __init__(self, server: Callable[[], psycopg.Connection[Any]], span_s: float) -> None:
        self._direct, self.span_s = server, span_s

    @classmethod
    def of(cls, server: Callable[[], psycopg.Connection[Any]]) -> Partitions | None:
        """Those of a log, if it has any."""
        with translated(asked := server()):
            (there,) = asked.execute("SELECT to_regclass(%s) IS NOT NULL", (SETTINGS,)).fetchone() or (False,)
            row = asked.execute(f"SELECT days FROM {SETTINGS}").fetchone() if there else None
        return None if row is None else cls(server, DAY_S * row[0])

    @property
    def _server(self) -> psycopg.Connection[Any]:
        return self._direct()

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
        self._lock([f"{table}_{last}" for table in TABLES])
        for table in TABLES:
            leaf = f"{table}_{last}"
            self._server.execute(f"ALTER TABLE {table} DETACH PARTITION {leaf}")
            self._server.execute(f"ALTER TABLE {table} ATTACH PARTITION {leaf} FOR VALUES FROM ({last}) TO ({end})")
            make_partition(self._server, table, end, f"FROM ({end}) TO (MAXVALUE)")

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
        old = {table: [each for each in self._leaves(table) if each[0] <= upto] for table in TABLES}
        self._lock([leaf for leaves in old.values() for _, leaf in leaves])
        for table, gone in old.items():
            for start, leaf in gone:
                self._server.execute(f"ALTER TABLE {table} DETACH PARTITION {leaf}")
                self._server.execute(f"ALTER TABLE {leaf} RENAME TO {table}_gone_{start}")
            first = make_partition(self._server, table, 0, f"FROM (MINVALUE) TO ({upto + 1})")
            for start, _ in gone:
                left = f"{table}_gone_{start}"
                if kept:
                    self._server.execute(f"INSERT INTO {first} SELECT * FROM {left} WHERE seq = ANY(%s)", (kept,))
                self._server.execute(f"DROP TABLE {left}")

    def _lock(self, leaves: Collection[str]) -> None:
        """Wait until nobody reads the tables, a moment long: whoever comes to read them meanwhile waits as well.

        Other partitions than these may be vacuumed meanwhile.
        """
        self._server.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
        only = ", ".join(f"ONLY {name}" for name in (*TABLES, *leaves))
        self._server.execute(f"LOCK TABLE {only} IN ACCESS EXCLUSIVE MODE")


def make_partition(server: psycopg.Connection[Any], table: str, start: int, bounds: str) -> str:
    """Make one partition, and return its name.

    Whoever reads beside the router reads the whole table, by its policies, and no partition past them.
    """
    leaf = f"{table}_{start}"
    server.execute(f"CREATE TABLE {leaf} PARTITION OF {table} FOR VALUES {bounds}")
    give_to_owner_of(server, leaf, table)
    server.execute(f"ALTER TABLE {leaf} ENABLE ROW LEVEL SECURITY")
    return leaf


def give_to_owner_of(server: psycopg.Connection[Any], made: str, other: str) -> None:
    """Have a new table belong to whom another one does: several roles may share a log."""
    query = """SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class
               WHERE oid = %s::regclass AND pg_get_userbyid(relowner) != current_user"""
    row = server.execute(query, (other,)).fetchone()
    if row is not None:
        server.execute(f"ALTER TABLE {made} OWNER TO {row[0]}")
