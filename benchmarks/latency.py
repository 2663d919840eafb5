"""What a routing decision costs: ``router.route`` against drawing from the posteriors with numpy.

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
from pathlib import Path

import numpy as np
from measuring import Figure, conditions, in_turn, options, percentile, ratios, scratch, show

from router_sdk import Agent, Outcome, Router, Task

RATE_PER_S = 2_000
PARTS = ("decision", "recorders", "agents", "import")
TASKS = [Task(task_type=f"type-{i}") for i in range(8)]
BASELINE_IMPORTS = "numpy, pydantic, pluggy"
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


def routing(router: Router, routed: Callable[[object], object] = lambda decision: None) -> Call:
    """Route the tasks one after the other."""
    position = 0

    def call() -> None:
        nonlocal position
        position += 1
        routed(router.route(TASKS[position % len(TASKS)]))

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
    rounds = []
    with taught(folder / f"decision-{threads}.db", 5) as router:
        paced((router_call := routing(router), numpy_floor(5)), ticks // 10)
        with recorders(router, threads) as done:
            started = time.perf_counter()
            for _ in range(repeats):
                rounds.append(paced((router_call, numpy_floor(5)), ticks))
            rate = sum(done) / (time.perf_counter() - started)
    figures = []
    for share, name, goal in ((0.5, "p50", 1.5 if threads == 1 else None), (0.99, "p99", 5.0)):
        ours, floor = ([percentile(times[i], share) for times in rounds] for i in (0, 1))
        figures.append(
            Figure(
                f"route, K=5, {threads} recording: {name} ÷ floor's",
                ratios(ours, floor),
                goal=goal,
                detail=f"{np.median(ours):.1f} µs against {np.median(floor):.1f} µs; {rate:,.0f} outcomes/s",
            )
        )
    return figures


def many_agents(folder: Path, repeats: int, ticks: int) -> list[Figure]:
    """A decision among a thousand agents against one among ten."""
    with taught(folder / "many.db", 1_000) as many, taught(folder / "few.db", 10) as few:
        calls = (routing(many), routing(few))
        paced(calls, ticks // 10)
        rounds = [paced(calls, ticks) for _ in range(repeats)]
    ours, baseline = ([percentile(times[i], 0.5) for times in rounds] for i in (0, 1))
    detail = f"{np.median(ours):.1f} µs against {np.median(baseline):.1f} µs"
    return [Figure("route, 1,000 agents: p50 ÷ that of 10", ratios(ours, baseline), goal=3.0, detail=detail)]


def _import_ms(modules: str, never: Sequence[str] = ()) -> float:
    """How long a fresh interpreter takes to import, in ms.

    Raises:
        RuntimeError: if one of ``never`` was imported with it.
    """
    code = (
        f"import sys, time; started = time.perf_counter(); import {modules}; "
        f"print((time.perf_counter() - started) * 1e3, *[name for name in {never!r} if name in sys.modules])"
    )
    took, *found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    if found:
        raise RuntimeError(f"importing {modules} imported {found}")
    return float(took)


def importing(repeats: int) -> list[Figure]:
    """``import router_sdk`` in a fresh interpreter, against its three foundations."""
    contestants = (lambda: _import_ms("router_sdk", NEVER_IMPORTED), lambda: _import_ms(BASELINE_IMPORTS))
    in_turn(contestants, 1)
    ours, baseline = in_turn(contestants, repeats)
    detail = f"{np.median(ours):.0f} ms against {np.median(baseline):.0f} ms"
    return [Figure(f"import router_sdk ÷ import {BASELINE_IMPORTS}", ratios(ours, baseline), goal=1.5, detail=detail)]


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
        if "agents" in parts:
            figures += many_agents(folder, repeats, ticks)
        if "import" in parts:
            figures += importing(1 if chosen.quick else 3 * repeats)
        show(f"Latency, paced {RATE_PER_S:,} calls a second", figures, conditions(folder))


if __name__ == "__main__":
    main()
