"""A connection to the log in PostgreSQL, which speaks the log's statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import RawCursor
from psycopg.pq import TransactionStatus

from router_sdk_postgres.dialect import translate
from router_sdk_postgres.faults import ConnectionLostError, translated
from router_sdk_postgres.partitions import Partitions
from router_sdk_postgres.server import Server
from router_sdk_postgres.values import FreeTextBinaryLoader, FreeTextLoader

if TYPE_CHECKING:
    from router_sdk.plugin import Rows, Stretches

Kinds = Mapping[str, Mapping[str, str]]
"""Of each table, the type of each column."""


class _Cursor(RawCursor[tuple[Any, ...]]):
    """A cursor that takes ``$1`` for values."""


class FreeTextCursor(_Cursor):
    """One that reads texts that people wrote."""

    def __init__(self, connection: Server) -> None:
        super().__init__(connection)
        self.adapters.register_loader("text", FreeTextLoader)
        self.adapters.register_loader("text", FreeTextBinaryLoader)


class LogConnection:
    """See ``router_sdk.engine.Connection``.

    Args:
        server: The connection to the server, in autocommit mode; None opens one at first use.
        kinds: Types of the tables' columns.
        again: Opens another one, where this one reads alone: what was asked is asked again, once.
        give: Takes it back.
        cut: Says whether the tables are in partitions, of a connection that was opened.
    """

    def __init__(
        self,
        server: Server | None,
        kinds: Kinds,
        again: Callable[[], Server] | None = None,
        give: Callable[[Server], object] = psycopg.Connection.close,
        cut: Callable[[], bool] = lambda: False,
    ) -> None:
        self._server = server
        self.kinds, self._again, self._give, self._cut = kinds, again, give, cut

    @property
    def server(self) -> Server:
        """The connection to the server; another one where it was given up.

        Raises:
            ConnectionLostError: if there is no other.
        """
        if self._server is None:
            if self._again is None:
                raise ConnectionLostError("PostgreSQL is not there: the connection to it was lost")
            self._server = self._again()
        return self._server

    def direct(self) -> Server:
        """The server, which was told all that was said so far."""
        return self.server

    def _give_up(self) -> None:
        """Give it back, once."""
        server, self._server = self._server, None
        if server is not None:
            self._give(server)

    def execute(self, query: str, values: Any = (), /) -> Rows:
        """See ``Connection``."""
        try:
            return self._execute(query, values)
        except ConnectionLostError:
            if self._again is None:
                raise
            self._give_up()
            return self._execute(query, values)

    def _execute(self, query: str, values: Any) -> Rows:
        server = self.server
        said = translate(query, self._cut())
        given = [values[name] for name in said.names] if said.names else values
        cursor = FreeTextCursor(server) if said.free_text else _Cursor(server)
        with translated(server):
            return cursor.execute(said.text.encode(), given, binary=True)

    def executemany(self, query: str, values: Any, /) -> Rows:
        """See ``Connection``."""
        cursor = _Cursor(self.server)
        with translated(self.server):
            cursor.executemany(translate(query).text.encode(), values)
        return cursor

    def insert_rows(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]], known: bool = False) -> None:
        """See ``Connection``: only a transaction inserts rows, see ``BatchConnection``."""
        raise NotImplementedError("this connection reads")

    def steady(self) -> None:
        """A transaction that sees what there was at its first question."""
        server, self._again = self.server, None
        with translated(server):
            server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def size(self) -> int:
        """Space of the tables and their indexes."""
        query = """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                   WHERE oid = ANY($1::regclass[])
                   OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = ANY($1::regclass[]))"""
        (found,) = self.execute(query, (list(self.kinds),)).fetchone()
        return int(found)

    def stretches(self) -> Stretches | None:
        """See ``Connection``."""
        return Partitions.of(self.direct)

    def give_back(self) -> None:
        """PostgreSQL's own vacuum does so."""

    def overwrite(self) -> None:
        """Indexes lose what was erased when the table is vacuumed, see ``PostgresWriting.scrub``."""

    def close(self) -> None:
        """Give it back."""
        try:
            if self._server is not None and self._server.pgconn.transaction_status == TransactionStatus.INTRANS:
                self._server.rollback()
        finally:
            self._give_up()
