"""Requests from many threads at once."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from router_sdk.records import AgentSet
from router_sdk.testing.comparison import require, require_valid
from router_sdk.testing.trial import LESSONS, Trial

if TYPE_CHECKING:
    from router_sdk.strategy import Strategy

THREADS = 4
UPDATES = 20
REQUESTS = 100


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
