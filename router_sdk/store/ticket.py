"""One caller's rows on their way to disk."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from router_sdk.errors import RouterError
    from router_sdk.records import Decision


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
        """Block until ``wake``; returns at once if that came first."""
        self._asleep.acquire()

    def wake(self) -> None:
        """Let the sleeping thread go on; waking twice is harmless."""
        with contextlib.suppress(RuntimeError):
            self._asleep.release()
