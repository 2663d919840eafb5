"""What a routing decision costs: ``router.route`` against drawing from the posteriors with numpy.

The part ``vectors`` holds the Thompson strategy over vectors and text against the libraries of ``bandit_peers.py``.

Run it: ``python benchmarks/latency.py [--quick]``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import Figure, conditions, in_turn, options, percentile, ratios, scratch, show
from vectors import vectors

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.plugin import Proposal, Strategy

RATE_PER_S = 2_000
PARTS = ("decision", "recorders", "experiment", "watch", "agents", "import", "vectors")
TASKS = [Task(task_type=f"type-{i}") for i in range(8)]
NEVER_IMPORTED = ("torch", "sklearn", "scipy", "sqlite_utils", "fastapi")

Call = Callable[[], object]


def paced(calls: Sequence[Call], ticks: int) -> list[list[float]]:
    """Make every call once per tick, each in turn the first, and time each by itself.

    Returns:
        Each call's times in µs.
    """
    times: list[list[float]] = [[] for _ in calls]
    clock, step = time.perf_counter, 1.0 / RATE_PER_S
    due = clock()
    for tick in range(ticks):
        due += step
        if (left := due - clock()) > 0:
            time.sleep(left)
        for turn in range(len(calls)):
            i = (tick + turn) % len(calls)
            started = clock()
            calls[i]()
            times[i].append((clock() - started) * 1e6)
    return times


def numpy_floor(agents: int) -> Call:
    """The least that Thompson sampling can cost in numpy: one draw per agent, and who drew most."""
    rng = np.random.default_rng(0)
    alphas, betas = rng.uniform(1, 50, agents), rng.uniform(1, 50, agents)
    return lambda: rng.beta(alphas, betas).argmax()


@contextmanager
def taught(path: Path, agents: int) -> Iterator[Router]:
    """A router on a file whose Thompson strategy has evidence for every task."""
    with Router([Agent(f"agent-{i}") for i in range(agents)], ["thompson"], path, privacy="full", seed=0) as router:
        for task in TASKS:
            router.observe_batch([(task, f"agent-{i % agents}", Outcome(success=i % 3 > 0)) for i in range(30)])
        router.flush()
        if (who := router.route(TASKS[0]).strategy) != "thompson":
            raise RuntimeError(f"expected thompson to answer, got {who}")
        yield router


def routing(
    router: Router, routed: Callable[[object], object] = lambda decision: None, tasks: Sequence[Task] = TASKS
) -> Call:
    """Route the tasks one after the other."""
    position = 0

    def call() -> None:
        nonlocal position
        position += 1
        routed(router.route(tasks[position % len(tasks)]))

    return call


@contextmanager
def recorders(router: Router, threads: int) -> Iterator[list[int]]:
    """Threads that route a task, record its outcome and begin again; yields how often each did."""
    done, stop = [0] * threads, threading.Event()

    def record(number: int) -> None:
        while not stop.is_set():
            success = (number + done[number]) % 3 > 0
            router.record(router.route(TASKS[number % len(TASKS)]), Outcome(success=success))
            done[number] += 1

    workers = [threading.Thread(target=record, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield done
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def decision(folder: Path, repeats: int, ticks: int, threads: int) -> list[Figure]:
    """A decision among five agents while ``threads`` record, against the floor in the same loop."""
    with taught(folder / f"decision-{threads}.db", 5) as router:
        calls = (routing(router), numpy_floor(5))
        idle = percentile(paced(calls, ticks // 4)[1], 0.99)
        with recorders(router, threads) as done:
            started = time.perf_counter()
            rounds = [paced(calls, ticks) for _ in range(repeats)]
            rate = sum(done) / (time.perf_counter() - started)
    median_us, median_floor_us = ([percentile(times[i], 0.5) for times in rounds] for i in (0, 1))
    tail_us, tail_floor_us = ([percentile(times[i], 0.99) for times in rounds] for i in (0, 1))
    what = f"route, K=5, {threads} recording"
    return [
        Figure(
            f"{what}: p50 ÷ floor's",
            ratios(median_us, median_floor_us),
            goal=1.5 if threads == 1 else None,
            detail=f"{_against(median_us, median_floor_us)}; {rate:,.0f} outcomes/s",
        ),
        Figure(
            f"{what}: p99 ÷ floor's",
            ratios(tail_us, tail_floor_us),
            goal=5.0,
            detail=_against(tail_us, tail_floor_us),
        ),
        Figure(
            "  p99 ÷ that of the floor while nobody records",
            [time_us / idle for time_us in tail_us],
            detail=_against(tail_us, [idle]),
        ),
    ]


def _against(ours_us: Sequence[float], baseline_us: Sequence[float]) -> str:
    return f"{median(ours_us):.1f} µs against {median(baseline_us):.1f} µs"


def many_agents(folder: Path, repeats: int, ticks: int) -> list[Figure]:
    """A decision among a thousand agents against one among ten."""
    with taught(folder / "many.db", 1_000) as many, taught(folder / "few.db", 10) as few:
        calls = (routing(many), routing(few))
        paced(calls, ticks // 10)
        rounds = [paced(calls, ticks) for _ in range(repeats)]
    ours, baseline = ([percentile(times[i], 0.5) for times in rounds] for i in (0, 1))
    what = "route, 1,000 agents: p50 ÷ that of 10"
    return [Figure(what, ratios(ours, baseline), goal=3.0, detail=_against(ours, baseline))]


def _import_ms(statement: str, never: Sequence[str] = ()) -> float:
    """How long a fresh interpreter takes to import, in ms.

    Raises:
        RuntimeError: if one of ``never`` was imported with it.
    """
    code = (
        f"import sys, time; started = time.perf_counter(); {statement}; "
        f"print((time.perf_counter() - started) * 1e3, *[name for name in {never!r} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    took, *found = finished.stdout.split()
    if found:
        raise RuntimeError(f"{statement!r} imported {found}")
    return float(took)


def importing(repeats: int) -> list[Figure]:
    """Imports in fresh interpreters: the bare name, and with it everything that a router needs.

    ``import pydantic`` loads next to nothing by itself, so the second line holds all that ``Router`` loads against
    what a first pydantic model loads.
    """
    contestants = (
        lambda: _import_ms("import router_sdk", NEVER_IMPORTED),
        lambda: _import_ms("import numpy, pydantic, pluggy"),
        lambda: _import_ms("from router_sdk import Router", NEVER_IMPORTED),
        lambda: _import_ms("import numpy, pluggy; from pydantic import BaseModel, Field, ValidationError"),
    )
    in_turn(contestants, 1)  # writes the byte code
    name, foundations, router, model = in_turn(contestants, repeats)
    return [
        Figure(
            "import router_sdk ÷ import numpy, pydantic, pluggy",
            ratios(name, foundations),
            goal=1.5,
            detail=f"{median(name):.0f} ms against {median(foundations):.0f} ms",
        ),
        Figure(
            "  with Router ÷ with pydantic's BaseModel",
            ratios(router, model),
            detail=f"{median(router):.0f} ms against {median(model):.0f} ms",
        ),
    ]


def experiment(folder: Path, repeats: int, ticks: int) -> list[Figure]:
    """A decision while an experiment runs, against one without; each router by itself, in turn."""
    figures = []
    sessions = [Task(task_type=f"type-{i % 8}", session_id=f"session-{i}") for i in range(500)]
    for what, tasks in (("each a unit", TASKS), ("500 sessions", sessions)):
        with taught(folder / f"plain-{len(tasks)}.db", 5) as plain, taught(folder / f"arms-{len(tasks)}.db", 5) as arms:
            arms.experiments.start("pair", [{"name": "other", "strategies": ["thompson"]}])
            calls = [routing(router, tasks=tasks) for router in (plain, arms)]
            rounds = in_turn([lambda call=call: paced([call], ticks)[0] for call in calls], 2 * repeats)  # type: ignore[misc]
        for share in (0.5, 0.99):
            without, during = ([percentile(times, share) for times in each] for each in rounds)
            figures.append(
                Figure(
                    f"route during an experiment, {what}: p{share * 100:.0f} ÷ without one",
                    ratios(during, without),
                    goal=1.1,
                    detail=_against(during, without),
                )
            )
    return figures


class Fitted(Strategy):
    """The least that can be fitted: everybody alike."""

    name = "fitted"

    def propose(self, task, agents, context):  # type: ignore[no-untyped-def]
        """Whoever."""
        return Proposal(dict.fromkeys(agents.names, 1.0 / len(agents)))

    def fit(self, data, context):  # type: ignore[no-untyped-def]
        """Another one."""
        return Fitted(self.config, self.services)

    def save(self, folder: Path) -> None:
        """Nothing is known."""
        (folder / "nothing.json").write_text("{}", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Nothing is read."""


@contextmanager
def fitted(path: Path, *, watched: bool) -> Iterator[Router]:
    """A router with two versions, of which each may be put on trial."""
    settings = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0, "watch": {"enabled": watched}}
    with Router([Agent(f"agent-{i}") for i in range(5)], [Fitted], path, seed=0, **settings) as router:
        for number in range(2):
            for i in range(100):
                router.record(router.route(f"{number} {i}"), Outcome(correct_agent=f"agent-{i % 5}"))
            router.models.retrain(wait=True)
            router.models.promote("fitted", number + 1, force=True)
        yield router


def on_trial(router: Router, version: int, outcomes: int) -> list[list[float]]:
    """Route and record through a trial of a version; each one's times in µs."""
    router.models.promote("fitted", version, force=True, pin=False)
    said, made = Outcome(success=True), list[Any]()
    calls = [routing(router, made.append), lambda: router.record(made.pop(), said)]
    times: list[list[float]] = [[], []]
    for _ in range(outcomes):
        for call, found in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            found.append((time.perf_counter() - started) * 1e6)
    router.flush()
    return times


def watch(folder: Path, repeats: int, ticks: int) -> list[Figure]:
    """Routing and recording while a version is on trial, against the same with the watch off; in turn."""
    figures, outcomes, turn = [], ticks // 4, count()
    with fitted(folder / "off.db", watched=False) as off, fitted(folder / "on.db", watched=True) as on:
        each = [lambda one=one: on_trial(one, 1 + next(turn) // 2 % 2, outcomes) for one in (off, on)]
        rounds = in_turn(each, 2 * repeats)  # type: ignore[arg-type]
        if not on.status()["watch"]:
            raise RuntimeError("nothing was watched")
    for place, what in enumerate(("route", "record")):
        for share in (0.5, 0.99):
            without, during = ([percentile(times[place], share) for times in found] for found in rounds)
            name = f"{what} while a version is watched: p{share * 100:.0f} ÷ with the watch off"
            goal = 1.02 if share < 0.9 else None
            figures.append(Figure(name, ratios(during, without), goal=goal, detail=_against(during, without)))
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    chosen = options(__doc__, argv, PARTS)
    parts, repeats, ticks = chosen.only or PARTS, chosen.repeats, 200 if chosen.quick else 4_000
    figures: list[Figure] = []
    with scratch(chosen.folder) as folder:
        if "decision" in parts:
            figures += decision(folder, repeats, ticks, threads=1)
        if "recorders" in parts:
            figures += decision(folder, repeats, ticks, threads=64)
        if "experiment" in parts:
            figures += experiment(folder, repeats, ticks)
        if "watch" in parts:
            figures += watch(folder, repeats, ticks)
        if "agents" in parts:
            figures += many_agents(folder, repeats, ticks)
        if "import" in parts:
            figures += importing(1 if chosen.quick else 3 * repeats)
        if "vectors" in parts:
            figures += vectors(repeats, chosen.quick)
        show(f"Latency, paced {RATE_PER_S:,} calls a second", figures, conditions(folder))


if __name__ == "__main__":
    main()
