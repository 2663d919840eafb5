"""What several processes on one log are held against: psycopg alone, whose writers take turns under one lock.

Nothing here routes, checks or learns. Each process commits groups of the same rows of decisions and outcomes, by
prepared statements in the protocol's pipeline: one answer says that the lock is its own, one that all is on disk.

As a script it is one such process: ``python bare_postgres.py SERVER SCHEMA THREADS SECONDS``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

import psycopg
from bare_writers import GROUP, Groups
from processes import Work, together
from psycopg import RawCursor
from router_sdk_postgres.tables import tables_of

from router_sdk.store.identity import new_id
from router_sdk.store.rows import DECISION_COLUMNS, OUTCOME_COLUMNS
from router_sdk.store.schema import schema

_LOCK = 77
_DECIDED = ("agent-1", "type-1", None, "routed", 0.5, 0, "thompson", None, 0.5, 0.02, 0, 1, bytes(40), *[None] * 6)
_SAID = (None, 1, 0.8, None, None, None, 850.0, 0.002, *[None] * 5)


def _insert(table: str, columns: str) -> bytes:
    (found,) = (one for one in tables_of(schema()) if one.name == table)
    kinds = [found.columns[name] for name in columns.split(", ")]
    types = ["double precision" if kind.startswith("double") else kind.split()[0] for kind in kinds]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays})".encode()


class TakingTurns(Groups):
    """Commits up to 64 decisions and their outcomes at a time, in its turn."""

    def __init__(self, server: str, schema_name: str) -> None:
        self._server = psycopg.connect(server, autocommit=True, prepare_threshold=0)
        for setting in (f"search_path = {schema_name}", "plan_cache_mode = force_generic_plan"):
            self._server.execute(f"SET {setting}", prepare=False)
        self._statements = _insert("decisions", DECISION_COLUMNS), _insert("outcomes", f"{OUTCOME_COLUMNS}, logged_at")
        super().__init__()

    def _say(self, statement: bytes, values: Any = None) -> RawCursor[Any]:
        return RawCursor(self._server).execute(statement, values)

    def commit(self) -> None:
        """One transaction, of those who wait once it has its turn."""
        with self._server.pipeline():
            self._say(b"BEGIN")
            self._say(b"SELECT pg_advisory_xact_lock(%d)" % _LOCK)
            (turn,) = self._say(b"SELECT nextval('turns')").fetchone()
            keys = self.gathered()
            seq, now = 2 * GROUP * turn, time.time()
            decided = [(seq + place, key, now, *_DECIDED) for place, key in enumerate(keys)]
            said = [(seq + GROUP + place, None, key, now, *_SAID, now) for place, key in enumerate(keys)]
            for statement, rows in zip(self._statements, (decided, said), strict=True):
                self._say(statement, [list(column) for column in zip(*rows, strict=True)])
            self._say(b"COMMIT")

    def close(self) -> None:
        """Stop the thread and close the connection."""
        super().close()
        self._server.close()


def _work(server: str, schema_name: str, threads: int, seconds: float) -> Work:
    shares = [Work() for _ in range(threads)]
    writer = TakingTurns(server, schema_name)
    print("ready", flush=True)
    sys.stdin.readline()
    spent, deadline = time.process_time(), time.perf_counter() + seconds

    def caller(share: Work) -> None:
        while (started := time.perf_counter()) < deadline:
            writer.wait_for(new_id())
            share.waits_ms.append((time.perf_counter() - started) * 1e3)
        share.per_second = len(share.waits_ms) / seconds

    callers = [threading.Thread(target=caller, args=(share,)) for share in shares]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    writer.close()
    total = together(shares)
    total.processor_s = time.process_time() - spent
    return total


if __name__ == "__main__":
    print(json.dumps(asdict(_work(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))), flush=True)
