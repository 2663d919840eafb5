"""Why a server lets nobody in, by the code that it says with it: its words are in whatever language it speaks.

libpq keeps the code of a refused connection to itself, and tells it where its talk with the server is written down
(``PQtrace``). So whoever was refused asks once more, and reads that. Where libpq writes nothing down (psycopg offers it
on Linux alone, and libpq before 17 begins once it is let in) the server is waited for, and its words are told then.
"""

from __future__ import annotations

import os
import re
import select
import time

import psycopg
from psycopg import errors, pq

_PATIENCE_S = 5.0
_CODE = re.compile(rb'ErrorResponse\t S ".*?" C "(\w{5})"')
_SIGN_IN = "give the right password in ~/.pgpass, PGPASSWORD or the store's URL"
_ADVICE: dict[type[psycopg.Error], str] = {
    errors.InvalidCatalogName: "make it (CREATE DATABASE), or name another one in the store's URL",
    errors.InvalidAuthorizationSpecification: "make it (CREATE ROLE … LOGIN) and let it in by the server's "
    "pg_hba.conf, or name another user in the store's URL",
    errors.InvalidPassword: _SIGN_IN,
    errors.InsufficientPrivilege: "allow it (GRANT CONNECT ON DATABASE), or name another user",
    errors.ObjectNotInPrerequisiteState: "allow connections (ALTER DATABASE …), or name another database",
}
_SECURITY = re.compile(r"does not support SSL|certificate")
"""What libpq itself says, which has no code."""


def advice(error: psycopg.Error, conninfo: str) -> str | None:
    """What to do about a connection that was refused; None where it may be accepted in a moment.

    Args:
        error: What was raised.
        conninfo: By which it was asked for.
    """
    if error.pgconn is not None and error.pgconn.needs_password:
        return _SIGN_IN
    if _SECURITY.search(str(error)):
        return "set sslmode and sslrootcert in the store's URL to what the server offers"
    code = None if isinstance(error, errors.ConnectionTimeout) else _code(conninfo)
    return None if code is None else _ADVICE.get(errors.lookup(code))


def _code(conninfo: str) -> str | None:
    """Ask once more, and read the server's answer; None where it lets in now, or cannot be understood."""
    if not hasattr(os, "memfd_create"):
        return None
    deadline = time.monotonic() + _PATIENCE_S
    with os.fdopen(os.memfd_create("refusal"), "rb") as said:  # it may hold a password, and is on no disk
        connection = pq.PGconn.connect_start(conninfo.encode())
        try:
            connection.trace(said.fileno())
            while (state := connection.connect_poll()) in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
                watched = [connection.socket]
                reads = state == pq.PollingStatus.READING
                ready = select.select(
                    watched if reads else [], [] if reads else watched, [], deadline - time.monotonic()
                )
                if not any(ready):
                    return None
            connection.untrace()
        except (psycopg.Error, OSError, ValueError):
            return None
        finally:
            connection.finish()
        found = _CODE.findall(os.pread(said.fileno(), 1 << 20, 0))
    return found[-1].decode() if found else None
