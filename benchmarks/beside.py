"""How long a ``record`` waits beside what takes long: a reader that stays, ``forget``, ``archive`` of half a million.

A caller records a few hundred times a second, as an orchestrator does, and notes each wait; the machine's own worst
wait, with nothing beside it, stands in the same table.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measuring import Figure, percentile
from million import AGENTS, build_log

from router_sdk import Outcome, Router, Task
from router_sdk.errors import StoreUnavailableError

PAUSE_S = 0.002
GOAL_MS = 250.0


class Caller:
    """Routes and records until it is told to stop."""

    def __init__(self, router: Router) -> None:
        self._router, self.waits_ms, self._over = router, [0.0], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            decision = self._router.route(Task("what is to be done", session_id="theirs"))
            started = time.perf_counter()
            self._router.record(decision, Outcome(success=True, response="done"))
            self.waits_ms.append(1_000.0 * (time.perf_counter() - started))

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def _long_reader(path: Path) -> Iterator[None]:
    """Somebody who began to read and does not end."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM (SELECT 1 FROM decisions LIMIT 1)").fetchall()
    try:
        yield
    finally:
        reader.close()


def _measured(router: Router, work: Callable[[], object]) -> tuple[list[float], float]:
    """Each wait beside some work, in ms, and how long that took, in s."""
    with Caller(router) as caller:
        started = time.perf_counter()
        work()
        took = time.perf_counter() - started
    return caller.waits_ms, took


def beside(folder: Path, outcomes: int, seconds: float) -> list[Figure]:
    """Measure one after the other on one store.

    Args:
        folder: Where its files go.
        outcomes: How many are archived.
        seconds: How long the reader stays.
    """
    path = folder / "beside.db"
    build_log(path, outcomes)
    figures = []

    def note(what: str, waits_ms: list[float], took: float, goal: float | None = GOAL_MS) -> None:
        detail = f"{len(waits_ms):,} in {took:.1f} s, p99 {percentile(waits_ms, 0.99):.1f} ms"
        figures.append(Figure(f"worst wait of a record {what}", [max(waits_ms)], "ms", goal, "at most", detail))

    with Router(AGENTS, ["thompson"], path, seed=0) as router:
        router.flush()
        note("with nothing beside it", *_measured(router, lambda: time.sleep(seconds)), goal=None)

        def forget_beside_a_reader() -> None:
            router.record(router.route(Task("mine", session_id="mine")), Outcome(success=True))
            with _long_reader(path):
                began = time.perf_counter()
                with suppress(StoreUnavailableError):  # it is finished once the reader is gone
                    router.forget("mine")
                time.sleep(max(0.0, seconds - (time.perf_counter() - began)))

        note(f"beside a reader of {seconds:.0f} s and a forget", *_measured(router, forget_beside_a_reader))

        def forget_ten() -> None:
            for number in range(10):
                for part in range(20):
                    router.record(router.route(Task(f"part {part}", session_id=f"s{number}")), Outcome(success=True))
                router.forget(f"s{number}")

        note("beside ten forgets", *_measured(router, forget_ten))
        note(f"beside an archive of {outcomes:,}", *_measured(router, lambda: router.archive(1_800_000_000.0 - 1e6)))
        assert router.status()["store"]["decisions"] < outcomes / 10
    return figures
