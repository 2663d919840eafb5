"""A connection to the server that is not waited for without end.

What the network loses, TCP finds out (``address``). A server that is stopped, or a proxy that keeps a connection open
and passes nothing on, acknowledges every byte and never answers; the server's own time-outs do not help then. So who
waits for an answer looks, from time to time, whether a new connection is answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

T = TypeVar("T")

SILENCE_S = 5.0
"""How long nothing may be heard of a question before another connection is tried, in seconds."""


class Server(psycopg.Connection[tuple[Any, ...]]):
    """See ``psycopg.Connection``; every wait for an answer has an end.

    Attributes:
        reach: What libpq connects by, to look whether the server answers.
        longest_s: Longest that an answer may take, in seconds: a little more than the server lets a statement run.
    """

    reach: str = ""
    longest_s: float = math.inf

    @property
    def _itself(self) -> str:
        """How to reach this server, of several that ``reach`` may name."""
        told = self.info
        return make_conninfo(self.reach, host=told.host, hostaddr=told.hostaddr or None, port=told.port)

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """See ``psycopg.Connection``: what is given no time-out of its own is watched.

        Raises:
            psycopg.OperationalError: if the server says nothing any more; the connection is closed.
        """
        watched = gen if args[1:] or options.get("timeout") is not None else self._watched(gen)
        return super().wait(watched, *args, **options)

    def _watched(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same talk with the server; psycopg says each tenth of a second if it was silent meanwhile."""
        try:
            wanted = next(gen)
            began = heard = time.monotonic()
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard = now
                elif now - began > self.longest_s or (now - heard > SILENCE_S and not answers(self._itself)):
                    self.close()
                    raise psycopg.OperationalError(f"the server has said nothing for {now - heard:.0f} s")
                elif now - heard > SILENCE_S:
                    heard = time.monotonic()  # it is there, and busy with what it was asked
                wanted = gen.send(ready)
        except StopIteration as end:
            found: T = end.value
            return found


def answers(reach: str) -> bool:
    """Whether a server says anything to a new connection, and be it that it takes none.

    Args:
        reach: What libpq connects by, with how long it tries (``connect_timeout``).
    """
    try:
        psycopg.connect(reach).close()
    except errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        return True
    return True
