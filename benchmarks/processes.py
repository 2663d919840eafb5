"""Several processes on one file: does anybody meet a locked database, how long does a record wait, what is lost.

As a script it is one such process: ``python processes.py FILE THREADS SECONDS`` opens a router, prints ``ready``, waits
for a line, works, and prints what happened as JSON.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median

from measuring import Figure, in_turn, percentile, ratios

from router_sdk import Agent, Outcome, Router, Task

PROCESSES = 4
AGENTS = [Agent(f"agent-{i}") for i in range(5)]
TASKS = [Task(task_type=f"type-{i}") for i in range(8)]

_fresh = count()


@dataclass
class Work:
    """What one process, or several together, did.

    Attributes:
        per_second: Tasks routed and recorded.
        processor_s: Processor time that this took, learning included.
        waits_ms: How long each ``record`` took.
        errors: Everything that was raised.
    """

    per_second: float = 0.0
    processor_s: float = 0.0
    waits_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Work) -> None:
        """Join another process's work."""
        self.per_second += other.per_second
        self.processor_s += other.processor_s
        self.waits_ms += other.waits_ms
        self.errors += other.errors


def work(router: Router, threads: int, seconds: float) -> Work:
    """Route and record, route and record, in every thread until the time is over."""
    shares = [Work() for _ in range(threads)]
    spent = time.process_time()
    deadline = time.perf_counter() + seconds

    def caller(number: int) -> None:
        waits, clock = shares[number].waits_ms, time.perf_counter
        while (now := clock()) < deadline:
            try:
                decision = router.route(TASKS[len(waits) % len(TASKS)])
                started = clock()
                router.record(decision, Outcome(success=(len(waits) + number) % 3 > 0))
                waits.append((clock() - started) * 1e3)
            except Exception as error:
                shares[number].errors.append(f"{type(error).__name__}: {error}")
        shares[number].per_second = len(waits) / (now - deadline + seconds)

    workers = [threading.Thread(target=caller, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = together(shares)
    total.processor_s = time.process_time() - spent
    return total


def together(shares: list[Work]) -> Work:
    """The sum of what was done at the same time."""
    total = Work()
    for share in shares:
        total.add(share)
    return total


def run(folder: Path, processes: int, threads: int, seconds: float) -> Work:
    """Start processes on a new file, let them begin together, and add up what they did."""
    path = folder / f"shared-{next(_fresh)}.db"
    Router(AGENTS, ["thompson"], path).close()
    command = [sys.executable, __file__, str(path), str(threads), str(seconds)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a process did not start; its error is above")
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return together([Work(**json.loads(process.communicate()[0])) for process in started])
    finally:
        for process in started:
            process.kill()
            process.wait()


def four_processes(folder: Path, repeats: int, seconds: float, threads: int = 16) -> list[Figure]:
    """Four processes with sixteen threads each, against one with sixty-four."""
    several, one = in_turn(
        (
            lambda: run(folder, PROCESSES, threads, seconds),
            lambda: run(folder, 1, PROCESSES * threads, seconds),
        ),
        repeats,
    )
    errors = [error for done in (*several, *one) for error in done.errors]
    ours, baseline = [done.per_second for done in several], [done.per_second for done in one]
    spent, alone_spent = ([1e6 * done.processor_s / len(done.waits_ms) for done in runs] for runs in (several, one))
    worst, usual = ([percentile(done.waits_ms, share) for done in several] for share in (1.0, 0.5))
    alone = median(max(done.waits_ms) for done in one)
    many = PROCESSES * threads
    return [
        Figure(f"{PROCESSES} processes on one file: errors", [len(errors)], "", 0.0, detail="; ".join(errors[:1])),
        Figure(
            "  worst wait of a record",
            worst,
            "ms",
            100.0,
            detail=f"median wait {median(usual):.1f} ms; one process: worst {alone:.0f} ms",
        ),
        Figure(
            f"  all together ÷ one process with {many} threads",
            [100 * ratio for ratio in ratios(ours, baseline)],
            "%",
            100.0,
            "at least",
            f"{median(ours):,.0f}/s against {median(baseline):,.0f}/s",
        ),
        Figure(
            "  processor time a task ÷ that of one process",
            ratios(spent, alone_spent),
            detail=f"{median(spent):,.0f} against {median(alone_spent):,.0f} µs, what is learnt beside it included",
        ),
    ]


def _main(path: str, threads: str, seconds: str) -> None:
    with Router(AGENTS, ["thompson"], path, privacy="full") as router:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(work(router, int(threads), float(seconds)))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
