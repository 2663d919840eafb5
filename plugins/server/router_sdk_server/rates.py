"""How often each key may ask, counted over all workers of a service."""

from __future__ import annotations

import mmap
import os
import sys
import time
import weakref
from array import array
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from router_sdk_server.problems import Refused

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

    from router_sdk.records import AccessKey

_MINUTE_S, _BYTES = 60.0, 16


class Rates:
    """How many requests each key has left: a token bucket of one minute.

    Args:
        most: Of keys that have no limit of their own; 0 sets none.
        folder: Where the workers of a service count together; None where there is one.
        now: Seconds of a clock that does not jump, the same in all processes of a machine.
    """

    def __init__(self, most: int, folder: Path | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._folder = None if folder is None or sys.platform == "win32" else folder / "rates"
        if self._folder is not None:
            self._folder.mkdir(exist_ok=True)
        self._buckets: dict[str, _Bucket] = {}

    def count(self, key: AccessKey) -> None:
        """Count one request.

        Raises:
            Refused: if the key has none left; says when it has.
        """
        most = key.per_minute or self._most
        if not most:
            return
        bucket = self._buckets.get(key.key_id)
        if bucket is None:
            path = None if self._folder is None else self._folder / key.key_id
            bucket = self._buckets[key.key_id] = _Bucket(path)
        with bucket.held() as numbers:
            taken, at = numbers
            now = self._now()
            taken = max(0.0, taken - (now - at) * most / _MINUTE_S)
            over = taken + 1 - most
            if over <= 0:
                numbers[0], numbers[1] = taken + 1, now
        if over > 0:
            wait = over * _MINUTE_S / most
            raise Refused(
                429, f"the key may ask {most:,} times a minute; wait {wait:.1f} s", {"retry-after": str(int(wait) + 1)}
            )


class _Bucket:
    """How many requests were taken, and when that was so.

    Args:
        path: A file that all workers have in their memory, or None.
    """

    def __init__(self, path: Path | None) -> None:
        self._numbers: MutableSequence[float] | memoryview[float] = array("d", (0.0, 0.0))
        self._descriptor: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)  # who cleans up /tmp may have taken it away
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            weakref.finalize(self, os.close, self._descriptor)
            os.truncate(self._descriptor, _BYTES)  # zeros, or what is there
            self._numbers = memoryview(mmap.mmap(self._descriptor, _BYTES)).cast("d")

    @contextmanager
    def held(self) -> Iterator[MutableSequence[float] | memoryview[float]]:
        """Both numbers, while no other worker counts."""
        if self._descriptor is None or sys.platform == "win32":
            yield self._numbers
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield self._numbers
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
