"""PostgreSQL as the engine of a store."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from router_sdk.plugin import Engine, NotAStoreError, Shelf, StoreBusyError, StoreUnavailableError, no_fork
from router_sdk_postgres.address import Address
from router_sdk_postgres.connection import LogConnection
from router_sdk_postgres.cutting import partition
from router_sdk_postgres.faults import ConnectionLostError, translated
from router_sdk_postgres.isolation import isolate, isolates
from router_sdk_postgres.leases import SessionLease
from router_sdk_postgres.news import News
from router_sdk_postgres.partitions import SETTINGS
from router_sdk_postgres.server import Server, answers
from router_sdk_postgres.shelves import DatabaseShelf, UrlShelf
from router_sdk_postgres.tables import PRIVACY_KEY, bring_up_to_date, identifier, refuse_newer, tables_of, version_of
from router_sdk_postgres.values import adapters
from router_sdk_postgres.writing import PostgresWriting

if TYPE_CHECKING:
    from router_sdk.plugin import Schema
    from router_sdk_postgres.connection import Kinds

_MOST_READERS = 32
_PATIENCE_S, _RETRY_S = 30.0, 1.0
_LOOK_S = 0.05
_GRACE_S = 5.0
"""How much longer an answer is waited for than the server lets a statement run."""
_REST_S = 0.2
"""Between two tries to reach a server at the start."""


class PostgresEngine(Engine):
    """See ``Engine``.

    Args:
        url: Where the log is, see ``Address``.
        schema: The log's tables.
    """

    name = "postgresql"
    errors = (psycopg.Error,)

    def __init__(self, url: str, schema: Schema) -> None:
        self._address, self._schema = Address.of(url), schema
        self.location, self.shown, self.folder = url, self._address.shown, self._address.folder
        self._kinds: Kinds = {
            table.name: {column: _kind(told) for column, told in table.columns.items()} for table in tables_of(schema)
        }
        self._token, self._cut = secrets.token_hex(8), False
        self._pool: ConnectionPool[Server] | None = None
        self._guard = threading.RLock()  # a signal's handler closes what it interrupted

    @classmethod
    def of(cls, url: str, schema: Schema) -> PostgresEngine:
        """See ``Engine``."""
        return cls(url, schema)

    def _own(self) -> str:
        """By which this process, and no fork of it, knows its own news."""
        return f"{self._token}.{os.getpid()}"

    # -- connections

    def _connect(self, *, reads: bool, **parameters: int) -> Server:
        conninfo = make_conninfo(self._address.conninfo, **parameters)
        with translated(conninfo=conninfo):
            server = Server.connect(
                conninfo,
                autocommit=True,
                context=adapters(),
                prepare_threshold=3 if reads else None,  # who writes prepares for itself, see ``batch``
            )
        try:
            self._set_up(server, reads=reads)
        except BaseException:
            server.close()
            raise
        return server

    def _set_up(self, server: Server, *, reads: bool) -> None:
        server.reach, server.longest_s = self._address.conninfo, self._address.statement_timeout_s + _GRACE_S
        patience_ms = int(1_000 * self._address.statement_timeout_s)
        settings = [
            f"SET search_path = {identifier(self._address.schema)}",
            f"SET statement_timeout = {patience_ms}",
            f"SET default_transaction_read_only = {'on' if reads else 'off'}",
            "SET default_transaction_isolation = 'read committed'",  # who waited for the lock sees what was written
            "SET TIME ZONE 'UTC'",
            "SET row_security = off",  # whoever may not see every row is told, and sees no part of the log as the whole
            "SET standard_conforming_strings = on",  # as ``values`` spells a text
            "SET extra_float_digits = 1",  # every number to the last bit
            "SET jit = off",
            "SET random_page_cost = 1.1",  # a piece of the log is joined by its index, never by reading every decision
            f"SET plan_cache_mode = force_{'custom' if reads else 'generic'}_plan",  # see ``batch``
            "SET tcp_keepalives_idle = 2",  # the server's end, as ``Address`` has the client's
            "SET tcp_keepalives_interval = 2",
            "SET tcp_keepalives_count = 3",
            "SET tcp_user_timeout = 5000",
        ]
        if not reads:
            settings += [
                "SET synchronous_commit = on",
                "SET idle_in_transaction_session_timeout = 5000",  # whoever is cut off keeps nobody waiting
                *(f"SET enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin")),  # see ``batch``
            ]
        with translated(server):
            server.execute("; ".join(settings))
            answer = server.execute("SELECT pg_backend_pid(), to_regclass(%s) IS NOT NULL", (SETTINGS,)).fetchone()
            found, self._cut = answer or (0, False)
            if server.info.backend_pid != found:
                raise StoreUnavailableError(
                    f"a connection pooler answers in PostgreSQL's place (PgBouncer, say; process {found} is not the "
                    "one that was asked): leases and news need a session of their own, which it takes away between "
                    "transactions; name the server itself"
                )
            if self._cut and reads:  # else a plan that was made while the newest partition was empty reads all of it
                server.execute("SET enable_seqscan = off")

    @contextmanager
    def _reached(self, *, reads: bool) -> Iterator[Server]:
        """Wait for a server that cannot be reached, for so long as the URL says; one that refuses is not waited for."""
        deadline = time.monotonic() + self._address.patience_s
        while True:
            with no_fork():
                try:
                    server = self._connect(reads=reads)
                except ConnectionLostError as error:
                    if time.monotonic() + _REST_S > deadline:
                        waited = f"waited for {self._address.patience_s:g} s, see ?patience_s="
                        raise StoreUnavailableError(f"{error} ({waited})") from error
                else:
                    with server:
                        yield server
                    return
            time.sleep(_REST_S)

    def claim(self) -> None:
        """Reach the server, make the tables or bring them up to date, and take over the secret of all machines."""
        with self._reached(reads=False) as server:
            with translated(server), server.transaction():
                server.execute("SELECT pg_advisory_xact_lock(%s)", (self._address.key("tables"),))
                bring_up_to_date(server, self._address.schema, self._schema)
                kept_apart = self._address.isolates
                if (days := self._address.partition_days) is not None:
                    server.longest_s = inf  # large tables take their time
                    anew = partition(server, self._schema, days, self._address.key("log"))
                    kept_apart = isolates(server) if anew and kept_apart is None else kept_apart
                if kept_apart is not None:
                    isolate(server, self._schema, kept_apart)
            query = "SELECT value FROM meta WHERE name = %s"
            with translated(server):
                (secret,) = server.execute(query, (PRIVACY_KEY,)).fetchone() or ("",)
        _keep(self.folder, bytes.fromhex(secret))

    def reader(self) -> LogConnection:
        """See ``Engine``: one of a pool, taken at first use."""
        return LogConnection(None, self._kinds, self._borrow, self._return, lambda: self._cut)

    def _borrow(self) -> Server:
        with self._guard:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._address.conninfo,
                    min_size=0,
                    max_size=_MOST_READERS,
                    max_idle=60.0,
                    open=True,
                    connection_class=Server,
                    kwargs={"autocommit": True, "context": adapters(), "prepare_threshold": 3},
                    configure=partial(self._set_up, reads=True),
                    check=ConnectionPool.check_connection,
                    reconnect_timeout=_REST_S,  # else it tries again ever more seldom
                    name="router-readers",
                )
            pool = self._pool
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return pool.getconn(_RETRY_S)  # each call has the pool try anew
            except PoolTimeout as error:
                if not answers(self._address.conninfo):
                    raise ConnectionLostError("PostgreSQL is not there: it answers nobody") from error
                if time.monotonic() >= deadline:
                    raise StoreBusyError(f"PostgreSQL gives no connection for {_PATIENCE_S:g} s") from error

    def _return(self, server: Server) -> None:
        pool = self._pool
        if pool is None:
            server.close()
        else:
            pool.putconn(server)

    def looker(self) -> LogConnection:
        """See ``Engine``."""
        with self._reached(reads=True) as server, translated(server):
            version = version_of(server, self._address.schema)
        refuse_newer(version, self._schema)
        if version != self._schema.version:
            raise StoreUnavailableError(
                f"there is no log at {self.shown}, or one of an earlier release, and nothing is changed by "
                "looking: open a router on it once"
            )
        return self.reader()

    def writing(self, *, durable: bool = True) -> PostgresWriting:
        """See ``Engine``."""
        with no_fork():
            return PostgresWriting(
                partial(self._connect, reads=False),
                self._kinds,
                self._address.key("log"),
                self._address.channel,
                self._own,
            )

    # -- leases and news

    @contextmanager
    def lease(self, name: str, patience_s: float = 0.0, *, once: bool = False) -> Iterator[None]:
        """An advisory lock of a session, which ends with it."""
        deadline = time.monotonic() + patience_s
        server = self._connect(reads=False)
        try:
            key = self._address.key(f"lease {name}")
            while True:
                with translated(server):
                    (held,) = server.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone() or (False,)
                if held:
                    break
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"another process holds {name!r}")
                time.sleep(_LOOK_S)
            try:
                yield
            finally:
                with suppress(psycopg.Error):  # a session that is closed lets go of it some time later
                    server.execute("SELECT pg_advisory_unlock(%s)", (key,))
        finally:
            server.close()

    def renewed_lease(self, name: str, silence_s: float) -> SessionLease:
        """See ``Engine``. Its connection is given up as early as the server lets go of what it holds."""
        patience = {"connect_timeout": max(2, ceil(silence_s)), "tcp_user_timeout": ceil(1_000 * silence_s)}
        return SessionLease(
            partial(self._connect, reads=False, **patience), self._address.key(f"lease {name}"), silence_s
        )

    def shelf(self) -> Shelf:
        """See ``Engine``."""
        if self._address.artifacts is not None:
            return UrlShelf(self._address.artifacts, self._address.schema)
        return DatabaseShelf(partial(self._connect, reads=False))

    def on_news(self, tell: Callable[[], object]) -> Callable[[], None]:
        """See ``Engine``: ``LISTEN``."""
        return News(partial(self._connect, reads=True), self._address.channel, self._own, tell).close

    def before_fork(self) -> None:
        """Close the pool; the next reader opens another."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """See ``Engine``."""
        self.before_fork()


def _keep(folder: Path, secret: bytes) -> None:
    """Put the secret where the store looks for it, for its owner's eyes alone; by it a folder is known as this log's.

    Raises:
        NotAStoreError: if another log's stands there.
    """
    database = folder.with_name(folder.name.removesuffix(".artifacts"))
    if database != folder and database.is_file():
        raise NotAStoreError(
            f"{folder} is the folder of the store in the file {database.name}; name another (?folder=)"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = folder / "privacy.key"
    if not key.exists():
        descriptor, draft = tempfile.mkstemp(prefix=".key-", dir=folder)  # for its owner alone
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret)
            with suppress(FileExistsError):  # another process was faster
                os.link(draft, key)
        finally:
            os.unlink(draft)
    if key.read_bytes() != secret:
        raise NotAStoreError(
            f"{folder} is another log's folder: its privacy.key is not that of this database and schema; name a folder "
            "of its own (?folder=), for two logs in one would learn from each other's files"
        )


def _kind(definition: str) -> str:
    """A column's type."""
    words: Any = definition.split()
    return "double precision" if words[0] == "double" else str(words[0])
