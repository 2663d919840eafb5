"""The writer of a store that is only looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from router_sdk.errors import StoreUnavailableError
from router_sdk.store.group_commit import LogWriter

if TYPE_CHECKING:
    from router_sdk.records import Decision
    from router_sdk.store.rows import Entry

T = TypeVar("T")

READ_ONLY = "the store is open for reading alone; open a router without read_only to write"
"""What to say to who wants to write."""


class NoWriter(LogWriter):
    """Stands where a store is open for reading alone: it takes nothing, and has nothing to write."""

    def __init__(self) -> None:
        self._closed = False

    def append(self, entries: Sequence[Entry]) -> None:
        """Refuse.

        Raises:
            StoreUnavailableError: always.
        """
        raise StoreUnavailableError(READ_ONLY)

    async def aappend(self, entries: Sequence[Entry]) -> None:
        """Refuse.

        Raises:
            StoreUnavailableError: always.
        """
        raise StoreUnavailableError(READ_ONLY)

    def offer(self, decision: Decision) -> bool:
        """Take no decision."""
        return False

    def _do(self, work: Callable[[float], T]) -> T:
        raise StoreUnavailableError(READ_ONLY)

    @property
    def waiting(self) -> int:
        """Nothing waits."""
        return 0

    def flush(self) -> None:
        """Nothing is to be written."""

    def close(self, *, patient: bool = True) -> None:
        """Nothing is open."""

    def before_fork(self) -> None:
        """Nothing is open."""

    def after_fork_in_parent(self) -> None:
        """Nothing is open."""

    def after_fork(self) -> None:
        """Nothing is open."""
