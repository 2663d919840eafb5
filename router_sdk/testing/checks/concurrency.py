"""What requests see while a strategy learns: nothing half done, from this thread or from many."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from router_sdk.records import AgentSet
from router_sdk.testing.comparison import require, require_valid, same
from router_sdk.testing.trial import LESSONS, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from router_sdk.strategy import Strategy
    from router_sdk.testing.trial import Answers


MOMENTS = 200
"""Lines at which requests are made, at most."""
VISITS = 2
"""Times that one line is such a moment: the second shows what a loop has half done, and more would leave no others."""
_LOOK_S = 0.25
_IDLE_LOOKS = 8
"""So many looks in a row at which a request has done nothing mean that it waits."""
_IDLE_S = 0.002
"""Processor time below which it has done nothing: at any load a thread that can run gets a multiple."""
_LONGEST_S = 60.0

THREADS = 4
UPDATES = 20
REQUESTS = 100


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
        visits: Counter[tuple[CodeType, int]] = Counter()

        def at_line(frame: FrameType, event: str, argument: Any) -> Any:
            if _package(str(frame.f_globals.get("__name__"))) != self._package:
                return None
            if event == "line" and len(seen) < MOMENTS and not self.waited:
                visits[frame.f_code, frame.f_lineno] += 1
                if visits[frame.f_code, frame.f_lineno] > VISITS:
                    return at_line
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


def publishes_in_one_step(trial: Trial) -> None:
    """Between any two lines of ``learn`` a request is answered as before it or as after it, and never waits."""
    strategy = trial.taught()
    requests = Interleaved(strategy, partial(trial.ask_all, strategy))
    for lesson in [lesson for lesson in trial.lessons(first=LESSONS + 1) if lesson.reward is not None][:3]:
        before = trial.ask_all(strategy)
        within = requests.run(partial(strategy.learn, [lesson]))
        after = trial.ask_all(strategy)
        require(not requests.waited, "a request had to wait until it had learnt")
        for answers in within:
            for position, found in enumerate(answers):
                require(
                    same(found, before[position]) or same(found, after[position]),
                    f"task {position}: while it learnt one example, an answer was neither the old nor the new one",
                )
    for answers in requests.run(partial(strategy.prepare, AgentSet(trial.agents[:-1]))):
        for position, found in enumerate(answers):
            require_valid(found, trial.agents, f"within prepare, task {position}")
    require(not requests.waited, "a request had to wait until it had prepared")


def answers_many_threads_at_once(trial: Trial) -> None:
    """Threads that propose while another learns and prepares get valid answers and no exception."""
    strategy = trial.taught()
    fewer = AgentSet(trial.agents[:-1])
    lessons = trial.lessons(first=LESSONS + 1)
    size = -(-len(lessons) // UPDATES)
    finished = threading.Event()
    interval = sys.getswitchinterval()
    # Threads then change hands within a request and within an update, not only between them.
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            requests = [pool.submit(_propose_until, trial, strategy, finished) for _ in range(THREADS)]
            try:
                for turn in range(UPDATES):
                    strategy.learn(lessons[turn * size : (turn + 1) * size])
                    strategy.prepare(fewer if turn % 5 == 3 else trial.agents)
            finally:
                finished.set()
            for request in requests:
                fault = request.result()
                require(fault is None, f"in a thread of its own, {fault}")
    finally:
        sys.setswitchinterval(interval)


def _propose_until(trial: Trial, strategy: Strategy, finished: threading.Event) -> str | None:
    """Ask until the learner has finished, and often enough; what went wrong, or None."""
    asked = 0
    while asked < REQUESTS or not finished.is_set():
        for position, task in enumerate(trial.tasks):
            asked += 1
            try:
                require_valid(trial.ask(strategy, task), trial.agents, f"task {position}")
            except AssertionError as error:
                return str(error)
            except Exception as error:
                return f"task {position}: propose raised {type(error).__name__}: {error}"
    return None
