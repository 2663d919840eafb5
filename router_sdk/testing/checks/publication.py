"""What a request sees of an update that is half done: nothing."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from router_sdk.records import AgentSet
from router_sdk.testing.comparison import require, require_valid, same
from router_sdk.testing.trial import LESSONS, Answers, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MOMENTS = 200
"""Lines of one update at which requests are made."""
PATIENCE_S = 10.0


def publishes_in_one_step(trial: Trial) -> None:
    """Between any two lines of ``learn`` a request is answered as before it or as after it, and never waits."""
    strategy = trial.taught()
    lessons = [lesson for lesson in trial.lessons(first=LESSONS + 1) if lesson.reward is not None][:3]
    for lesson in lessons:
        before = trial.ask_all(strategy)
        seen = _during(
            lambda given=lesson: strategy.learn([given]),  # type: ignore[misc]
            lambda: trial.ask_all(strategy),
            _package(strategy),
        )
        after = trial.ask_all(strategy)
        for answers in seen:
            for position, found in enumerate(answers):
                require(
                    same(found, before[position]) or same(found, after[position]),
                    f"task {position}: while it learnt one example, an answer was neither the old nor the new one",
                )
    fewer = AgentSet(trial.agents[:-1])
    for answers in _during(lambda: strategy.prepare(fewer), lambda: trial.ask_all(strategy), _package(strategy)):
        for position, found in enumerate(answers):
            require_valid(found, trial.agents, f"within prepare, task {position}")


def _package(strategy: object) -> str:
    return type(strategy).__module__.partition(".")[0]


def _during(update: Callable[[], None], ask: Callable[[], Answers], package: str) -> list[Answers]:
    """Run an update, and ask in another thread at each line of it that lies in ``package``."""
    seen: list[Future[Answers]] = []

    def at_line(frame: FrameType, event: str, argument: Any) -> Any:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != package:
            return None
        if event == "line" and len(seen) < MOMENTS:
            seen.append(pool.submit(ask))
            try:
                seen[-1].exception(PATIENCE_S)
            except TimeoutError:
                raise AssertionError("a request waited for the update to end") from None
        return at_line

    tracing = sys.gettrace()
    with ThreadPoolExecutor(1) as pool:
        sys.settrace(at_line)
        try:
            update()
        finally:
            sys.settrace(tracing)
    return [request.result() for request in seen]
