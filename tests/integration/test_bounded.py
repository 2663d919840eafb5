"""What does not grow, however long a router lives and whatever it is asked."""

import gc
import random
import threading
import tracemalloc
from pathlib import Path

import pytest
from router_sdk_thompson import strategy as thompson

from router_sdk import Outcome, Router, Task
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
