"""Whatever goes wrong under a router, it says so in its own words, goes on, and loses nothing that it acknowledged.

Each seed is a process that routes, records, learns and fits, while at steps drawn from the seed the disk fails or is
full, another program holds the database, the clock jumps, a signal comes whose handler records too, or the process is
killed. A failing seed is printed, and ``--seed N`` of this file as a program plays it again.
"""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import fitted_strategy
import pytest
from killable import AGENTS, LIMIT_S, PRELOADED, WORDS, Points, logged

from router_sdk import Outcome, Router, Task
from router_sdk.errors import RouterError

LIMIT_S = min(LIMIT_S, 40.0)
OPERATIONS = 30

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked from a server")


class Trial:
    """One process's life under a seed."""

    def __init__(self, seed, store, say):
        self.chance, self.store, self.say = random.Random(seed), store, say
        self.me = threading.get_ident()
        self.points = Points(store.parent)
        self.points.install()
        self.points.happen = self.happen
        self.clock, real = 0.0, time.time
        time.time = lambda: real() + self.clock
        signal.signal(signal.SIGUSR1, self.on_signal)
        self.router = None

    def arm(self):
        self.points.left = self.chance.randrange(1, 60)

    def happen(self, where):
        """Something at this step; the next is drawn at once."""
        self.arm()
        kind = self.chance.choices(
            ["full", "broken", "locked", "forward", "back", "signal", "kill"], [4, 4, 3, 2, 2, 4, 1]
        )[0]
        if kind in ("full", "broken"):
            code = errno.ENOSPC if kind == "full" else errno.EIO
            if where in ("begun", "not committed yet", "checkpoint"):
                raise sqlite3.OperationalError("database or disk is full" if kind == "full" else "disk I/O error")
            if where != "committed":
                raise OSError(code, os.strerror(code))
        elif kind == "locked":
            threading.Thread(target=self.lock, args=(self.chance.random() * 0.3,), daemon=True).start()
        elif kind == "forward":
            self.clock += self.chance.choice([60.0, 3_600.0, 90_000.0])
        elif kind == "back":
            self.clock -= self.chance.choice([60.0, 3_600.0, 90_000.0])
        elif kind == "signal":
            os.kill(os.getpid(), signal.SIGUSR1)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def lock(self, seconds):
        """Another program writes for a while."""
        with closing(sqlite3.connect(self.store, isolation_level=None, timeout=1.0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
                threading.Event().wait(seconds)
                other.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return

    def on_signal(self, *_):
        if self.router is not None:
            self.attempt(self.record)

    def attempt(self, work):
        """Do it; only errors of the product's own may come of it."""
        try:
            return work()
        except RouterError:
            return None

    def record(self):
        agent = self.chance.choice(AGENTS)
        decision = self.router.route(Task(f"{WORDS[agent]} {self.chance.randrange(10**6)}"))
        self.router.record(decision, Outcome(correct_agent=agent))
        self.say(decision.decision_id)

    def open(self):
        while self.router is None:
            self.router = self.attempt(
                lambda: Router(
                    AGENTS,
                    [fitted_strategy.Words, "thompson"],
                    self.store,
                    retrain=False,
                    fit_executor="thread",
                    batch_events=3,
                    store_timeout_seconds=5.0,
                )
            )

    def run(self):
        self.arm()
        self.open()
        for _ in range(OPERATIONS):
            kind = self.chance.choices(["record", "flush", "fit", "snapshot", "close"], [14, 3, 2, 2, 1])[0]
            if kind == "record":
                self.attempt(self.record)
            elif kind == "flush":
                self.attempt(self.router.flush)
            elif kind == "fit":
                self.attempt(lambda: self.router.models.retrain().wait(LIMIT_S))
            elif kind == "snapshot":
                self.attempt(self.router.snapshot)
            else:
                router, self.router = self.router, None
                self.attempt(router.close)
                self.open()
            self.router.route("it routes, whatever happens")
        router, self.router = self.router, None
        self.attempt(router.close)


def _live(seed, store, writing):
    """A process's whole life."""
    Trial(seed, Path(store), lambda decision_id: os.write(writing.fileno(), f"{decision_id}\n".encode())).run()


def trial(seed, folder):
    """Play a seed, and look what is left."""
    store = folder / "router.db"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_live, args=(seed, str(store), writing))
    process.start()
    writing.close()
    with os.fdopen(os.dup(reading.fileno()), "rb") as pipe:
        said = pipe.read()  # until it ends, or is ended
    process.join(LIMIT_S)
    alive = process.is_alive()
    process.kill()
    assert not alive, f"seed {seed}: it hangs"
    assert process.exitcode in (0, -signal.SIGKILL), f"seed {seed}: it ended with {process.exitcode}"
    acknowledged = {line.decode() for line in said.split(b"\n") if len(line) == 32}
    if not store.exists():
        return 0
    with Router(AGENTS, [fitted_strategy.Words, "thompson"], store, retrain=False, fit_executor="thread") as router:
        router.flush()
        counted = router.statistics()["total_examples"], sum(one.executions for one in router.agent_performance())
        assert router.route("and it goes on").agent in AGENTS
        broken = router.status()["learner"]["broken"]
    ids = logged(store)
    assert acknowledged <= ids, f"seed {seed}: {len(acknowledged - ids)} of {len(acknowledged)} are lost"
    assert counted == (len(ids), len(ids)), f"seed {seed}: {counted} learnt of {len(ids)}"
    assert broken == [], f"seed {seed}"
    return len(acknowledged)


def watched(seed, folder):
    """``trial``, given up where it hangs."""

    def give_up(*_):
        raise AssertionError(f"seed {seed}: what is left cannot be looked at, it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    timer = threading.Timer(2 * LIMIT_S, lambda: os.kill(os.getpid(), signal.SIGALRM))
    timer.start()
    try:
        return trial(seed, folder)
    finally:
        timer.cancel()
        signal.signal(signal.SIGALRM, before)


def play(seeds):
    total = 0
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        try:
            total += watched(seed, folder)
        except BaseException:
            sys.stderr.write(f"seed {seed} fails\n")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return total


@pytest.mark.slow
def test_a_few_seeds():
    assert play(range(4)) > 15


@pytest.mark.reliability
def test_two_thousand_seeds():
    assert play(range(1_000, 3_000)) > 10_000


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.stdout.write(f"{play([int(sys.argv[2])])} acknowledged\n")
