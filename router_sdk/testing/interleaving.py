"""Make requests between the lines of something else, at the same places every time."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from router_sdk.strategy import Strategy
    from router_sdk.testing.trial import Answers

MOMENTS = 200
"""Lines at which requests are made, at most."""
_LOOK_S = 0.25
_IDLE_LOOKS = 8
"""So many looks in a row at which a request has done nothing mean that it waits."""
_IDLE_S = 0.002
"""Processor time below which it has done nothing: at any load a thread that can run gets a multiple."""
_LONGEST_S = 60.0


class Interleaved:
    """Runs actions of one strategy, and asks in another thread before each line that its own package holds.

    Threads alone would meet at such a line only now and then.

    Attributes:
        waited: Whether a request was not answered until the action went on.
    """

    def __init__(self, strategy: Strategy, ask: Callable[[], Answers]) -> None:
        self.waited = False
        self._package = _package(type(strategy).__module__)
        self._ask = ask

    def run(self, action: Callable[[], object]) -> list[Answers]:
        """Run the action and return what was answered meanwhile."""
        seen: list[Future[Answers]] = []

        def at_line(frame: FrameType, event: str, argument: Any) -> Any:
            if _package(str(frame.f_globals.get("__name__"))) != self._package:
                return None
            if event == "line" and len(seen) < MOMENTS and not self.waited:
                seen.append(pool.submit(self._ask))
                self.waited = not _answered(seen[-1], worker.result())
            return at_line

        tracing = sys.gettrace()
        with ThreadPoolExecutor(1) as pool:
            worker = pool.submit(threading.get_ident)
            sys.settrace(at_line)
            try:
                action()
            finally:
                sys.settrace(tracing)
        return [request.result() for request in seen]


def _answered(request: Future[Answers], thread: int) -> bool:
    """Whether a request is answered without waiting for who asks.

    On a busy machine an answer may take seconds, so time alone says nothing. What tells a request that waits is that
    its thread does nothing while others get the processor.
    """
    idle, before, deadline = 0, _worked_s(thread), time.monotonic() + _LONGEST_S
    while idle < _IDLE_LOOKS and time.monotonic() < deadline:
        try:
            request.exception(_LOOK_S)
        except TimeoutError:
            now = _worked_s(thread)
            idle = idle + 1 if now - before < _IDLE_S else 0
            before = now
        else:
            return True
    return request.done()


def _worked_s(thread: int) -> float:
    """Processor time that a thread has had, in seconds; 0 where the system does not tell."""
    if sys.platform in ("win32", "darwin"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def _package(module: str) -> str:
    return module.partition(".")[0]
