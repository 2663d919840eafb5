"""One caller's rows on their way to disk, and how the callers of a group hear of it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import asyncio

    from router_sdk.errors import RouterError
    from router_sdk.records import Decision


T = TypeVar("T")

_NAP_S = 1.0

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """An outcome, a decision that must be there with it, or both.

    Attributes:
        outcome: A row of ``outcomes`` without its ``seq``.
        payload: A row of ``payloads`` for the outcome, without its ``seq``.
        decision: Written first, unless the log already holds it.
    """

    outcome: tuple[Any, ...] | None = None
    payload: tuple[Any, ...] | None = None
    decision: Decision | None = None


class Ticket:
    """What one caller wants on disk in one transaction, and how to tell it.

    Attributes:
        entries: The rows.
        done: Whether the ticket was settled, well or with ``error``.
        follower: The next sleeper of the same group: each woken caller wakes one other.
        future: Of the coroutine that waits, or None where a thread does.
    """

    __slots__ = ("_asleep", "done", "entries", "error", "follower", "future")

    def __init__(self, entries: Sequence[Entry], future: asyncio.Future[None] | None = None) -> None:
        self.entries = entries
        self.future = future
        self.done = False
        self.error: RouterError | None = None
        self.follower: Ticket | None = None
        if future is None:
            self._asleep = threading.Lock()
            self._asleep.acquire()

    def sleep(self) -> None:
        """Block until ``wake``, or for a second: who should have woken us may have been interrupted."""
        self._asleep.acquire(timeout=_NAP_S)

    def wake(self) -> None:
        """Let the sleeping thread go on; waking twice is harmless."""
        with contextlib.suppress(RuntimeError):
            self._asleep.release()


def take(queue: deque[T], most: int) -> list[T]:
    """Remove up to ``most`` entries from the front, while others append."""
    taken: list[T] = []
    with contextlib.suppress(IndexError):
        while len(taken) < most:
            taken.append(queue.popleft())
    return taken


def settle(tickets: Sequence[Ticket], error: RouterError | None) -> None:
    """Tell the callers of a group: each woken thread wakes the next, each event loop is called once."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    follower: Ticket | None = None
    for ticket in reversed(tickets):
        ticket.error = error
        ticket.follower = follower
        ticket.done = True
        if ticket.future is None:
            follower = ticket
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
