"""News of other processes' commits, told as they happen (LISTEN and NOTIFY)."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg

from router_sdk.plugin import StoreUnavailableError
from router_sdk_postgres.faults import translated

if TYPE_CHECKING:
    from router_sdk_postgres.server import Server

_LOOK_S = 30.0
"""How often the connection is asked whether it is still there, where nothing is heard."""
_REST_S = 1.0
_log = logging.getLogger(__name__)


class News:
    """A thread that waits for news; where it loses the server it looks for it, and tells once it is back.

    Args:
        connect: Opens a connection.
        channel: Where news come.
        own: Gives the word of this process's own news, of which it is not told.
        tell: Called for others' news.
    """

    def __init__(
        self, connect: Callable[[], Server], channel: str, own: Callable[[], str], tell: Callable[[], object]
    ) -> None:
        self._connect, self._channel, self._own, self._tell = connect, channel, own, tell
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="router-news", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._ended:
            while not self._over(_REST_S if self._lost() else 0.0):
                pass

    def _over(self, patience_s: float) -> bool:
        return bool(select.select([self._ended], [], [], patience_s)[0])

    def _lost(self) -> bool:
        """Listen until the end, or until the server is lost; whether it was."""
        try:
            with self._connect() as server, translated(server):
                self._listen(server)
        except (psycopg.Error, StoreUnavailableError, OSError) as error:
            _log.info("no news for now: %s", error)
            return True
        return False

    def _listen(self, server: Server) -> None:
        own = self._own()
        server.execute(f"LISTEN {self._channel}")
        self._tell()  # of what happened before
        while True:
            watched: list[Any] = [server.fileno(), self._ended]
            heard, _, _ = select.select(watched, [], [], _LOOK_S)
            if self._ended in heard:
                return
            if not heard:
                server.execute("SELECT 1")
            elif any(one.payload != own for one in server.notifies(timeout=0)):
                self._tell()

    def close(self) -> None:
        """Wait for no more, and close the connection."""
        self._end.close()
        if self._thread is not threading.current_thread():
            self._thread.join()
