"""The writing end: one transaction at a time in the whole database, and none whose end is not known.

An identity column is not in commit order: a reader that stands at 10 may later see 9 appear, and has lost it. So each
transaction holds one advisory lock from its beginning to its end, under which positions are counted; PostgreSQL lets go
of it after the transaction can be seen (https://www.postgresql.org/docs/current/explicit-locking.html).

Each transaction counts up a row of its writer's own. Where the connection is lost while it commits, the next one waits
for the lock, which nobody who is still at work would have let go, and looks at that row: what is committed is not
written again, and what is not, is. The transaction's own number would not do: a server that crashed gives it to another
one, if nothing of the first had reached the disk.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from router_sdk.plugin import RouterClosedError, StoreBusyError, StoreUnavailableError, Writing
from router_sdk_postgres.batch import BatchConnection, Prepared
from router_sdk_postgres.faults import ConnectionLostError, translated

if TYPE_CHECKING:
    from router_sdk.plugin import Connection
    from router_sdk_postgres.connection import Kinds
    from router_sdk_postgres.server import Server

T = TypeVar("T")

_SHORTEST_S, _LONGEST_S = 0.02, 1.0
"""Rests between two tries to reach a server."""
_GONE_S = 86_400.0
"""A writer that was not heard of for so long has no transaction that is not over."""
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

    def __init__(
        self, connect: Callable[[], Server], kinds: Kinds, lock: int, channel: str, own: Callable[[], str]
    ) -> None:
        self._open, self._kinds, self._lock = connect, kinds, lock
        self._channel, self._own = channel, own
        self._count = 0
        self._server: Server | None = None
        self._prepared = Prepared()
        self._turn = -1
        self._closed = False
        self._name_itself()
        self._connect()

    def _name_itself(self) -> None:
        """A name that no other writer has, and none of its transactions."""
        self._name, self._count = secrets.token_hex(16), 0

    def _connect(self) -> Server:
        if self._closed:
            raise RouterClosedError("the store was closed; open a new router on it")
        if self._server is None:
            self._server = self._open()
        return self._server

    def transact(self, work: Callable[[Connection, Any], T], deadline: float, first: str) -> T:
        """See ``Writing``. A connection that is lost is opened again until the deadline."""
        rest = _SHORTEST_S
        unknown: tuple[T] | None = None
        while True:
            try:
                connection = BatchConnection(self._connect(), self._kinds, self._prepared)
                found = self._enter(connection, deadline, first)
                if unknown is not None and self._is_there(connection):
                    self._roll_back()
                    return unknown[0]
                unknown = None
                self._count += 1
                result = work(connection, found)
                unknown = (result,)
                self._end(connection)
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
            except BaseException as error:
                self._turn = -1
                self._roll_back()
                if unknown is not None and isinstance(error, StoreBusyError):
                    raise StoreUnavailableError(
                        "PostgreSQL went away while it committed, and is locked since: what was written may be there"
                    ) from error
                raise

    def _enter(self, connection: BatchConnection, deadline: float, first: str) -> Any:
        """Begin, and wait for the lock; what ``first`` gives, unless the last turn was ours."""
        left_ms = max(1, int(1_000 * (deadline - time.monotonic())))
        connection.say("BEGIN")
        connection.say(f"SET LOCAL lock_timeout = {left_ms}")
        connection.say(f"SELECT pg_advisory_xact_lock({self._lock})")
        turn, *found = connection.ask(
            f"SELECT * FROM (SELECT nextval('turns') AS turn OFFSET 0) AS taken "
            f"LEFT JOIN LATERAL (SELECT * FROM ({first}) AS newest WHERE turn != $1 OFFSET 0) AS others ON true",
            ["bigint"],
            [str(self._turn + 1)],
        ).fetchone()
        unchanged, self._turn = turn == self._turn + 1, turn
        return None if unchanged else found

    def _end(self, connection: BatchConnection) -> None:
        """Count up this writer's row, tell the others, and commit, in one message."""
        now = time.time()
        if self._count == 1:
            connection.say(f"DELETE FROM writers WHERE at < {now - _GONE_S!r}")
        connection.ask(
            "INSERT INTO writers (name, count, at) VALUES ($1, $2, $3) "
            "ON CONFLICT (name) DO UPDATE SET count = excluded.count, at = excluded.at",
            ["text", "bigint", "double precision"],
            [f"'{self._name}'", str(self._count), repr(now)],
        )
        connection.say(f"NOTIFY {self._channel}, '{self._own()}'")
        connection.say("COMMIT")
        connection.send()

    def _is_there(self, connection: BatchConnection) -> bool:
        """Whether this writer's last transaction was committed whose connection was lost; nobody is at it any more."""
        row = connection.say(f"SELECT count FROM writers WHERE name = '{self._name}'").fetchone()
        self._turn = -1
        return row is not None and row[0] == self._count

    def _roll_back(self) -> None:
        server = self._server
        if server is None:
            return
        try:
            if server.pgconn.transaction_status != TransactionStatus.IDLE:
                self._prepared.forget()  # nobody knows how many of them were
                server.execute("ROLLBACK; DEALLOCATE ALL", prepare=False)
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
        self._prepared.forget()
        if server is not None:
            server.close()

    def after_fork(self) -> None:
        """The connection was closed before; the name is the parent's."""
        self._name_itself()

    def close(self) -> None:
        """See ``Writing``."""
        self._closed = True
        self.disconnect()
