"""The writing end: one transaction at a time in the whole database, and none whose end is not known.

An identity column is not in commit order: a reader that stands at 10 may later see 9 appear, and has lost it. So each
transaction holds one advisory lock from its beginning to its end, under which positions are counted; PostgreSQL lets go
of it after the transaction can be seen (https://www.postgresql.org/docs/current/explicit-locking.html).

Where the connection is lost, the next one waits for that lock, which nobody who is still at work would have let go, and
asks what became of the transaction (``pg_xact_status``): what is committed is not written again, and what is not, is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from router_sdk.plugin import RouterClosedError, StoreUnavailableError, Writing
from router_sdk_postgres.connection import LogConnection
from router_sdk_postgres.faults import ConnectionLostError, translated

if TYPE_CHECKING:
    from router_sdk.plugin import Connection
    from router_sdk_postgres.connection import Kinds, Server

T = TypeVar("T")

_SHORTEST_S, _LONGEST_S = 0.02, 1.0
"""Rests between two tries to reach a server."""
_ERASED = ("payloads", "vectors", "dead_letters", "pretraining", "intents")
"""Tables in which texts are erased."""


class PostgresWriting(Writing):
    """See ``Writing``.

    Args:
        connect: Opens a connection for writing.
        kinds: Types of the tables' columns.
        lock: Key of the advisory lock.
        channel: On which others are told of commits.
        own: A word by which this process knows its own news.
    """

    def __init__(self, connect: Callable[[], Server], kinds: Kinds, lock: int, channel: str, own: str) -> None:
        self._open, self._kinds = connect, kinds
        self._begin = (
            "BEGIN; SET LOCAL lock_timeout = {}; "
            f"SELECT pg_advisory_xact_lock({lock}); "
            "SELECT nextval('turns'), pg_current_xact_id()::text"
        )
        self._commit = f"NOTIFY {channel}, '{own}'; COMMIT"
        self._server: Server | None = None
        self._turn = -1
        self._closed = False
        self._connect()

    def _connect(self) -> Server:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")
        if self._server is None:
            self._server = self._open()
        return self._server

    def transact(self, work: Callable[[Connection, bool], T], deadline: float) -> T:
        """See ``Writing``. A connection that is lost is opened again until the deadline."""
        rest = _SHORTEST_S
        unknown: tuple[str, T] | None = None
        while True:
            try:
                server = self._connect()
                if unknown is not None and self._became(server, unknown[0], deadline):
                    return unknown[1]
                unknown = None
                xid = self._enter(server, deadline)
                result = self._run(server, work)
                unknown = (xid, result)
                self._end(server)
                return result
            except ConnectionLostError:
                self.disconnect()
                if time.monotonic() + rest >= deadline:
                    if unknown is None:
                        raise
                    raise StoreUnavailableError(
                        "PostgreSQL went away while it committed, and is not back: what was written may be there"
                    ) from None
                time.sleep(rest)
                rest = min(2 * rest, _LONGEST_S)
            except BaseException:
                self._turn = -1
                self._roll_back()
                raise

    def _enter(self, server: Server, deadline: float) -> str:
        """Begin, and wait for the lock; the transaction's number."""
        left_ms = max(1, int(1_000 * (deadline - time.monotonic())))
        with translated(server):
            cursor = server.execute(self._begin.format(left_ms))
            while cursor.nextset():
                pass
            row = cursor.fetchone()
        assert row is not None
        turn, xid = row
        self._unchanged, self._turn = turn == self._turn + 1, turn
        return str(xid)

    def _run(self, server: Server, work: Callable[[Connection, bool], T]) -> T:
        return work(LogConnection(server, self._kinds), self._unchanged)

    def _end(self, server: Server) -> None:
        with translated(server):
            server.execute(self._commit)

    def _became(self, server: Server, xid: str, deadline: float) -> bool:
        """Whether a transaction was committed whose connection was lost; nobody is at work in it any more."""
        self._enter(server, deadline)
        self._turn = -1
        try:
            with translated(server):
                (status,) = server.execute("SELECT pg_xact_status(%s::text::xid8)", (xid,)).fetchone() or (None,)
        except psycopg.Error as error:  # another server took over, which has not heard of it
            raise StoreUnavailableError(f"whether what was written is there cannot be known: {error}") from error
        finally:
            self._roll_back()
        if status == "in progress":  # it is prepared to, or the server is a standby that was promoted
            raise ConnectionLostError("a transaction of before is not over")
        return bool(status == "committed")

    def _roll_back(self) -> None:
        server = self._server
        if server is None:
            return
        try:
            if server.pgconn.transaction_status != TransactionStatus.IDLE:
                server.execute("ROLLBACK")
        except psycopg.Error:
            self.disconnect()

    def scrub(self, deadline: float) -> bool:
        """Vacuum the tables in which texts are erased, so that no row's old version is left in them.

        What is in the write-ahead log, on replicas and in backups goes when those go, see the plugin's README.
        """
        server = self._connect()
        with translated(server):
            server.execute(f"VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) {', '.join(_ERASED)}")
        return True

    def disconnect(self) -> None:
        """See ``Writing``."""
        server, self._server = self._server, None
        self._turn = -1
        if server is not None:
            server.close()

    def after_fork(self) -> None:
        """The connection was closed before."""

    def close(self) -> None:
        """See ``Writing``."""
        self._closed = True
        self.disconnect()
