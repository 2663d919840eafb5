"""One caller's rows on their way to disk, and how the callers of a group hear of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from router_sdk.waiting import Promise

if TYPE_CHECKING:
    import asyncio

    from router_sdk.errors import RouterError
    from router_sdk.store.rows import Entry

_log = logging.getLogger(__name__)


class Ticket(Promise[None]):
    """What one caller wants on disk in one transaction.

    Attributes:
        entries: The rows.
        deadline: When to give up on a store that is locked, by the monotonic clock.
        future: Of the coroutine that waits, or None where a thread does.
        follower: The next sleeper of the same group: each woken caller wakes one other.
        left: Whether nobody sleeps on it any more: the caller was interrupted, or is done.
    """

    __slots__ = ("deadline", "entries", "follower", "future", "left")

    def __init__(self, entries: Sequence[Entry], deadline: float, future: asyncio.Future[None] | None = None) -> None:
        super().__init__()
        self.entries, self.deadline, self.future = entries, deadline, future
        self.follower: Ticket | None = None
        self.left = False

    def settle(self, error: RouterError | None, follower: Ticket | None) -> None:
        """Note how it went, and wake nobody yet."""
        self._error, self.follower, self.done = error, follower, True

    def leave(self) -> None:
        """The caller sleeps no more. It wakes the next one; where that is not known yet, who settles passes it over."""
        self.left = True
        if self.follower is not None:
            self.follower.wake()


def settle(tickets: Sequence[Ticket], error: RouterError | None) -> None:
    """Tell the callers of a group: each woken thread wakes the next, each event loop is called once."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    follower: Ticket | None = None
    for ticket in reversed(tickets):
        ticket.settle(error, follower)
        if ticket.future is None:
            follower = follower if ticket.left else ticket
        else:
            loops.setdefault(ticket.future.get_loop(), []).append(ticket.future)
    if follower is not None:
        follower.wake()
    for loop, futures in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures)
        except RuntimeError:
            _log.warning("an event loop was closed while %d outcomes were being recorded", len(futures))


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
