"""News of other processes' commits, told as they happen (LISTEN and NOTIFY)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from router_sdk.plugin import StoreUnavailableError

if TYPE_CHECKING:
    from router_sdk_postgres.connection import Server

_LOOK_S = 0.5
_RESTS_S = 2.0
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
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router-news", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (psycopg.Error, StoreUnavailableError, OSError) as error:
                _log.info("no news for now: %s", error)
                self._ended.wait(_RESTS_S)

    def _listen(self) -> None:
        with self._connect() as server:
            own = self._own()
            server.execute(f"LISTEN {self._channel}")
            self._tell()  # of what happened before
            while not self._ended.is_set():
                if any(one.payload != own for one in server.notifies(timeout=_LOOK_S, stop_after=1)):
                    self._tell()

    def close(self) -> None:
        """Wait for no more."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2 * _LOOK_S)
