"""Make requests between the lines of something else, at the same places every time."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from router_sdk.strategy import Strategy
    from router_sdk.testing.trial import Answers

MOMENTS = 200
"""Lines at which requests are made, at most."""
PATIENCE_S = 1.0


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
                try:
                    seen[-1].exception(PATIENCE_S)
                except TimeoutError:
                    self.waited = True
            return at_line

        tracing = sys.gettrace()
        with ThreadPoolExecutor(1) as pool:
            sys.settrace(at_line)
            try:
                action()
            finally:
                sys.settrace(tracing)
        return [request.result() for request in seen]


def _package(module: str) -> str:
    return module.partition(".")[0]
