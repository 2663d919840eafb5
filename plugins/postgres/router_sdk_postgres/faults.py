"""PostgreSQL's errors as the router's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from router_sdk.plugin import StoreBusyError, StoreUnavailableError


class ConnectionLostError(StoreUnavailableError):
    """The server, or the way to it, went away; another connection may find it."""


class RefusedError(StoreUnavailableError):
    """The server was reached and lets nobody in, and will not until somebody changes something."""


_REFUSALS = (
    (r"database \S+ does not exist", "make it (CREATE DATABASE), or name another one in the store's URL"),
    (r"role \S+ does not exist", "make it (CREATE ROLE … LOGIN), or name another user in the store's URL"),
    (
        r"password authentication failed|no password supplied",
        "give the right password in ~/.pgpass, PGPASSWORD or the store's URL",
    ),
    (r"pg_hba\.conf|authentication failed", "let this user in by the server's pg_hba.conf, or name another one"),
    (r"is not permitted to log in", "allow it (ALTER ROLE … LOGIN), or name another user in the store's URL"),
    (r"permission denied for database", "allow it (GRANT CONNECT ON DATABASE), or name another user"),
    (
        r"not currently accepting connections",
        "allow them (ALTER DATABASE …), or name another database",
    ),
    (r"does not support SSL|certificate", "set sslmode and sslrootcert in the store's URL to what the server offers"),
)
"""What a server (or libpq) says of what waiting does not change, and what to do. In another language than English it is
waited for as if the server could not be reached, and said then."""
_LOST = (
    *(errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.DatabaseDropped),
    *(errors.IdleInTransactionSessionTimeout, errors.ReadOnlySqlTransaction),
)
_FULL = (errors.TooManyConnections, errors.InsufficientResources)


@contextmanager
def translated(connection: psycopg.Connection | None = None) -> Iterator[None]:
    """Raise the router's errors for what is no fault of a row.

    Args:
        connection: Which one is used; None where one is being opened.

    Raises:
        ConnectionLostError: if the server cannot be reached.
        RefusedError: if it lets nobody in.
        StoreBusyError: if something is locked for too long.
        StoreUnavailableError: if the server cannot do it now.
    """
    try:
        yield
    except errors.LockNotAvailable as error:
        raise StoreBusyError("another process keeps the store locked; try again") from error
    except errors.QueryCanceled as error:
        raise StoreUnavailableError(f"PostgreSQL gave up: {words(error)}") from error
    except _LOST as error:
        raise ConnectionLostError(f"PostgreSQL is not there: {words(error)}") from error
    except errors.InsufficientPrivilege as error:
        raise StoreUnavailableError(f"PostgreSQL does not allow it: {words(error)}") from error
    except psycopg.Error as error:
        if connection is None and (advice := _advice(error)) is not None:
            raise RefusedError(f"PostgreSQL refuses the connection: {words(error)}; {advice}") from error
        if connection is None or connection.broken or connection.closed:
            raise ConnectionLostError(f"PostgreSQL cannot be reached: {words(error)}") from error
        if isinstance(error, (psycopg.OperationalError, psycopg.InternalError, *_FULL)):
            raise StoreUnavailableError(f"PostgreSQL cannot do it now: {words(error)}") from error
        raise


def _advice(error: psycopg.Error) -> str | None:
    """What to do about a connection that was refused; None where it may be accepted in a moment."""
    said = str(error)
    if (found := next((advice for pattern, advice in _REFUSALS if re.search(pattern, said)), None)) is not None:
        return found
    needs_password = error.pgconn is not None and error.pgconn.needs_password
    return _REFUSALS[2][1] if needs_password else None


def words(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300]
