"""Durable recording: ``record`` and ``arecord`` of many callers and of one, against SQLite alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from bare_writers import GroupWriter, SingleCommits
from measuring import Figure, in_turn, ratios

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.store.identity import new_id

CALLERS = 64
AGENTS = [Agent(f"agent-{i}") for i in range(5)]
TASKS = [Task(task_type=f"type-{i}") for i in range(8)]
OUTCOMES = [Outcome(success=success, quality=0.8, latency_ms=850.0, cost_usd=0.002) for success in (False, True)]

Record = Callable[[str, bool], None]

_fresh = count()


def throughput(record: Record, ids: Sequence[str], callers: int) -> float:
    """Outcomes a second that ``callers`` threads record, each its own share of the ids."""
    gate = threading.Barrier(callers + 1)

    def work(share: Sequence[str]) -> None:
        gate.wait()
        for i, decision_id in enumerate(share):
            record(decision_id, i % 3 > 0)

    threads = [threading.Thread(target=work, args=(ids[caller::callers],)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return len(ids) / (time.perf_counter() - started)


async def _from_tasks(router: Router, ids: Sequence[str], callers: int) -> float:
    async def work(share: Sequence[str]) -> None:
        for i, decision_id in enumerate(share):
            await router.arecord(decision_id, OUTCOMES[i % 3 > 0])

    started = time.perf_counter()
    await asyncio.gather(*(work(ids[caller::callers]) for caller in range(callers)))
    return len(ids) / (time.perf_counter() - started)


class Contest:
    """Each run starts on a new file, with as many decisions routed before as outcomes will be recorded.

    Args:
        folder: Where the files go.
        outcomes: How many are recorded in one run.
    """

    def __init__(self, folder: Path, outcomes: int) -> None:
        self._folder = folder
        self._outcomes = outcomes

    def _file(self) -> Path:
        return self._folder / f"recording-{next(_fresh)}.db"

    def _opened(self, *, learning: bool = True) -> tuple[Router, list[str]]:
        router = Router(AGENTS, ["thompson"], self._file(), privacy="full", seed=0, learning=learning)
        ids = [router.route(TASKS[i % len(TASKS)]).decision_id for i in range(self._outcomes)]
        router.flush()
        return router, ids

    def router(self, callers: int, *, learning: bool = True) -> float:
        """``Router.record`` by decision id, from threads."""
        router, ids = self._opened(learning=learning)
        with router:
            return throughput(lambda decision_id, success: router.record(decision_id, OUTCOMES[success]), ids, callers)

    def router_objects(self, callers: int) -> float:
        """``Router.record`` by the decision object."""
        router, ids = self._opened()
        with router:
            decisions = {decision_id: router.decision(decision_id) for decision_id in ids}
            return throughput(
                lambda decision_id, success: router.record(decisions[decision_id], OUTCOMES[success]), ids, callers
            )

    def router_tasks(self, callers: int) -> float:
        """``Router.arecord`` by decision id, from coroutines."""
        router, ids = self._opened()
        with router:
            return asyncio.run(_from_tasks(router, ids, callers))

    def grouped(self, callers: int, *, one_statement: bool) -> float:
        """The bare group-committing writer."""
        return self._bare(GroupWriter(self._file(), one_statement=one_statement), callers)

    def single(self) -> float:
        """Raw single commits."""
        return self._bare(SingleCommits(self._file()), 1)

    def _bare(self, writer: GroupWriter | SingleCommits, callers: int) -> float:
        ids = [new_id() for _ in range(self._outcomes)]
        try:
            return throughput(writer.record, ids, callers)
        finally:
            writer.close()


def _figure(what: str, ours: list[float], baseline: list[float], goal: float | None = None) -> Figure:
    against = f"{sorted(ours)[len(ours) // 2]:,.0f}/s against {sorted(baseline)[len(baseline) // 2]:,.0f}/s"
    shares = [100 * ratio for ratio in ratios(ours, baseline)]
    return Figure(what, shares, "%", goal, "at least", against)


def many_callers(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """64 threads and 64 coroutines, against 64 threads over a bare group-committing writer."""
    contest = Contest(folder, outcomes)
    ids, objects, unlearning, tasks, statement, rows = in_turn(
        (
            lambda: contest.router(CALLERS),
            lambda: contest.router_objects(CALLERS),
            lambda: contest.router(CALLERS, learning=False),
            lambda: contest.router_tasks(CALLERS),
            lambda: contest.grouped(CALLERS, one_statement=True),
            lambda: contest.grouped(CALLERS, one_statement=False),
        ),
        repeats,
    )
    return [
        _figure("record by id, 64 threads ÷ bare writer", ids, statement, 100),
        _figure("record by decision, 64 threads ÷ bare writer", objects, statement, 100),
        _figure("  by id, where nothing is learnt ÷ bare writer", unlearning, statement),
        _figure("  by id ÷ bare writer with executemany", ids, rows),
        _figure("arecord, 64 tasks ÷ record, 64 threads", tasks, ids, 130),
    ]


def one_caller(folder: Path, repeats: int, outcomes: int) -> list[Figure]:
    """One thread against raw single commits."""
    contest = Contest(folder, outcomes)
    ours, objects, baseline = in_turn(
        (lambda: contest.router(1), lambda: contest.router_objects(1), contest.single), repeats
    )
    return [
        _figure("record by id, one caller ÷ single commits", ours, baseline, 80),
        _figure("record by decision, one caller ÷ single commits", objects, baseline, 80),
    ]
