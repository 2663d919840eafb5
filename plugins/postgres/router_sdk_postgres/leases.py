"""A lease that its holder's silence ends: a lock of a session that the server closes when it is asked nothing."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from router_sdk.plugin import RenewedLease, StoreUnavailableError
from router_sdk_postgres.faults import translated

if TYPE_CHECKING:
    from router_sdk_postgres.server import Server

_OFTEN = 4.0
"""How many times within the silence that is allowed something is said."""
_NOTHING = (0, -math.inf)
_log = logging.getLogger(__name__)


class SessionLease(RenewedLease):
    """See ``RenewedLease``. Its number is drawn from the log's sequence of transactions, which no crash turns back.

    The server counts the silence from the end of a question, this process from before it was asked: it stops to believe
    that it holds the lease before the server lets go of it.

    Args:
        connect: Opens a connection.
        key: Key of the advisory lock.
        silence_s: How long the session may be silent, in seconds.
    """

    def __init__(self, connect: Callable[[], Server], key: int, silence_s: float) -> None:
        self._connect, self._silence_s = connect, silence_s
        self._take = f"SELECT CASE WHEN pg_try_advisory_lock({key}) THEN nextval('turns') ELSE 0 END"
        self._give_back = f"SELECT pg_advisory_unlock({key})"
        self._mine = _NOTHING
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> int:
        """See ``RenewedLease``."""
        number, renewed_at = self._mine
        return number if time.monotonic() - renewed_at < self._silence_s else 0

    def seek(self) -> None:
        """See ``RenewedLease``: begin a thread."""
        if self._thread is None or not self._thread.is_alive():
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._ended,), name="router-lease", daemon=True)
            self._thread.start()

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                with self._connect() as server, translated(server):
                    server.execute(f"SET idle_session_timeout = {max(1, int(1_000 * self._silence_s))}")
                    self._hold(server, ended)
            except (psycopg.Error, StoreUnavailableError, OSError) as error:
                _log.info("a lease is lost, or cannot be sought now: %s", error)
            finally:
                self._hear(ended, _NOTHING)
            ended.wait(self._silence_s / _OFTEN)

    def _hold(self, server: Server, ended: threading.Event) -> None:
        """Take it once it is free, and keep it, until the end."""
        number = 0
        while True:
            asked_at = time.monotonic()
            (number,) = server.execute(f"SELECT {number}" if number else self._take).fetchone() or (0,)
            self._hear(ended, (number, asked_at))
            if ended.wait(self._silence_s / _OFTEN):
                if number:
                    server.execute(self._give_back)  # a session that is closed lets go of it some time later
                return

    def _hear(self, ended: threading.Event, mine: tuple[int, float]) -> None:
        """What a thread found, unless it was told to end, and another one may have begun."""
        if ended is self._ended and not ended.is_set():
            self._mine = mine

    def release(self) -> None:
        """See ``RenewedLease``: end the thread, and with it the session; where it gets no answer, silence does."""
        thread, self._thread = self._thread, None
        self._ended.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._silence_s)
        self._mine = _NOTHING
