"""PostgreSQL's errors as the router's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from router_sdk.plugin import StoreBusyError, StoreUnavailableError
from router_sdk_postgres.refusals import advice


class ConnectionLostError(StoreUnavailableError):
    """The server, or the way to it, went away; another connection may find it."""


class RefusedError(StoreUnavailableError):
    """The server was reached and lets nobody in, and will not until somebody changes something."""


_LOST = (
    *(errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.DatabaseDropped),
    *(errors.IdleInTransactionSessionTimeout, errors.ReadOnlySqlTransaction),
)
_FULL = (errors.TooManyConnections, errors.InsufficientResources)


@contextmanager
def translated(connection: psycopg.Connection | None = None, conninfo: str = "") -> Iterator[None]:
    """Raise the router's errors for what is no fault of a row.

    Args:
        connection: Which one is used; None where one is being opened.
        conninfo: By what.

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
        if connection is None and (known := advice(error, conninfo)) is not None:
            raise RefusedError(f"PostgreSQL refuses the connection: {words(error)}; {known}") from error
        if connection is None or connection.broken or connection.closed:
            raise ConnectionLostError(f"PostgreSQL cannot be reached: {words(error)}") from error
        if isinstance(error, (psycopg.OperationalError, psycopg.InternalError, *_FULL)):
            raise StoreUnavailableError(f"PostgreSQL cannot do it now: {words(error)}") from error
        raise


def words(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300]
