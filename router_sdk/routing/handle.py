"""``router.handle``: route, let the caller do the work, and record what came of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

from router_sdk.records import Decision, Outcome, Task
from router_sdk.records.fields import MAX_TEXT_CHARS


class Routes(Protocol):
    """What it needs of a router."""

    @property
    def route(self) -> Callable[..., Decision]:
        """See ``Router.route``."""

    @property
    def aroute(self) -> Callable[..., Awaitable[Decision]]:
        """See ``Router.aroute``."""

    @property
    def record(self) -> Callable[[Decision, Outcome], None]:
        """See ``Router.record``."""

    @property
    def arecord(self) -> Callable[[Decision, Outcome], Awaitable[None]]:
        """See ``Router.arecord``."""


class Call:
    """One routed piece of work; use it with ``with`` or ``async with``.

    An ordinary return is recorded as a success, an exception as a failure, either with the time it took. A
    cancelled call records nothing: unknown is not failure.

    Attributes:
        decision: The decision; set on entering.
        result: Put the agent's answer here; a text is recorded as the response.
    """

    def __init__(self, router: Routes, task: Task, **options: Any) -> None:
        self._router = router
        self._options = options
        self._details: dict[str, Any] = {}
        self._started = 0.0
        self.task = task
        self.decision: Decision
        self.result: object = None

    @property
    def agent(self) -> str | None:
        """The chosen agent's name."""
        return self.decision.agent

    def report(self, **details: Any) -> None:
        """Add fields of the outcome, such as ``quality`` or ``cost_usd``; a later value wins.

        Raises:
            InvalidOutcomeError: if a field is unknown or out of range.
        """
        Outcome(**details)
        self._details |= details

    def _outcome(self, error: BaseException | None) -> Outcome:
        fields: dict[str, Any] = {
            "success": error is None,
            "latency_ms": (time.perf_counter() - self._started) * 1_000,
        }
        if error is not None:
            fields["error"] = Outcome.error_text(error)
        elif isinstance(self.result, str):
            fields["response"] = _storable(self.result)
        return Outcome(**{**fields, **self._details})

    def __enter__(self) -> Call:
        self.decision = self._router.route(self.task, **self._options)
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            self._router.record(self.decision, self._outcome(error))

    async def __aenter__(self) -> Call:
        self.decision = await self._router.aroute(self.task, **self._options)
        self._started = time.perf_counter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            await self._router.arecord(self.decision, self._outcome(error))


def _storable(text: str) -> str:
    """A text that the log takes, whatever the agent answered: not too long, and without half surrogate pairs."""
    return text[:MAX_TEXT_CHARS].encode(errors="replace").decode()
