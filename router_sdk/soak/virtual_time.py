"""A clock that a simulation moves on: hours pass for the whole process in the seconds that it takes to play them."""

from __future__ import annotations

import time
from types import TracebackType


class VirtualTime:
    """While it is entered, ``time.time`` and ``time.monotonic`` of this process run ahead by what was skipped.

    Between two skips they go on as ever, so that whoever waits in earnest still gets there. Of a process that plays
    nothing else: all that looks at the time sees it.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._time, self._monotonic = time.time, time.monotonic

    def skip(self, seconds: float) -> None:
        """Let time pass, in seconds of at least 0."""
        self._ahead_s += seconds

    @property
    def passed_s(self) -> float:
        """What was skipped so far, in seconds."""
        return self._ahead_s

    def __enter__(self) -> VirtualTime:
        self._time, self._monotonic = time.time, time.monotonic
        real_time, real_monotonic = self._time, self._monotonic
        time.time = lambda: real_time() + self._ahead_s
        time.monotonic = lambda: real_monotonic() + self._ahead_s
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        time.time, time.monotonic = self._time, self._monotonic
