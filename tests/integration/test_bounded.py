"""What does not grow, however long a router lives and whatever it is asked."""

import gc
import random
import secrets
import sqlite3
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from router_sdk_thompson import strategy as thompson

from router_sdk import Outcome, Router, Task
from router_sdk.numerics import recency
from router_sdk.routing import agents as eligibility
from router_sdk.routing import chain
from router_sdk.store import transaction

NAMES = [f"agent{number}" for number in range(30)]


@pytest.mark.parametrize("settings", [{}, {"objectives": {"cost": 0.5}}])
def test_memory_does_not_grow_with_every_set_of_eligible_agents(monkeypatch, settings):
    monkeypatch.setattr(eligibility, "MOST_SETS", 32)
    monkeypatch.setattr(chain, "_UNIFORM", 32)
    monkeypatch.setattr(thompson, "MOST_PUBLISHED", 32)
    monkeypatch.setattr(transaction, "_KNOWN_SETS", 32)
    rng = random.Random(0)
    with Router(NAMES, [("thompson", settings)], ":memory:", seed=1) as router:
        for number in range(6):
            router.observe(Task(task_type="sums"), NAMES[number], Outcome(success=True, cost_usd=0.1))
        router.flush()

        def ask(times):
            for _ in range(times):
                router.route(Task(task_type=rng.choice(["sums", "news"])), exclude=rng.sample(NAMES, 9))
            router.flush()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            ask(80)
            before = ask(40)
            assert ask(200) - before < 120_000, "a set of 21 agents takes some kilobytes wherever it is kept"
        finally:
            tracemalloc.stop()


def test_what_is_kept_of_task_types_is_bounded_and_a_replay_keeps_the_same_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(recency, "MOST_KINDS", 16)

    def kept(router):
        router._parts.learner.resave()
        (strategy, *_) = router._parts.chain.stages
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        strategy.strategy.save(folder)
        router._parts.performance.save(folder)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    rng = random.Random(0)
    chain, log = ["thompson"], tmp_path / "log.db"
    with Router(["a", "b"], chain, log, seed=1, learn_now=True) as router:
        for number in range(400):
            often = f"type {int(40 * rng.random() ** 3)}"
            decision = router.route(Task(task_type=often if number % 3 or number > 250 else f"id {number}"))
            router.record(decision, Outcome(success=rng.random() < 0.5))
        router.flush()
        live = kept(router)
        (stage, *_) = router._parts.chain.stages
        assert len(stage.strategy._evidence.cells) == len(stage.strategy._contexts._probe.seen) == 16
        assert "type 0" in stage.strategy._evidence.cells
        reports = router.agent_performance()
        assert len({kind for report in reports for kind in report.task_types}) == 16
        assert sum(report.executions for report in reports) == 400
    with closing(sqlite3.connect(log)) as opened, opened:
        opened.execute("DELETE FROM snapshots")
    with Router(["a", "b"], chain, log, seed=1) as router:
        router.flush()
        assert kept(router) == live


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed on Linux alone")
def test_threads_that_ended_leave_no_connection(tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    with Router(NAMES, ["heuristic"], tmp_path / "router.db") as router:

        def use():
            decision = router.route("x", idempotency_key=threading.current_thread().name)
            router.record(decision, Outcome(success=True))
            router.decision(decision.decision_id)
            assert router.examples[-1:]

        def use_by_many(threads):
            running = [threading.Thread(target=use) for _ in range(threads)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()

        use_by_many(2)
        router.flush()
        before = descriptors()
        use_by_many(12)
        router.flush()
        assert descriptors() <= before
