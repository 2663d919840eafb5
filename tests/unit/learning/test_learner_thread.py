import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from router_sdk import Outcome, Task
from router_sdk.errors import RouterClosedError
from router_sdk.learning.pace import rest_s
from router_sdk.waiting import Bell, Promise

from ..doubles import Counting, Stubborn, build

PATIENCE_S = 10.0


def strategy_of(router):
    return router._parts.chain.stages[0].strategy


def wait_until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_enough_outcomes_start_an_update_by_themselves(make_router):
    router = make_router([Counting], batch_events=10, batch_seconds=600.0)
    for _ in range(9):
        router.record(router.route("x"), Outcome(quality=0.5))
    threading.Event().wait(0.1)
    assert strategy_of(router).lessons == []
    router.record(router.route("x"), Outcome(quality=0.5))
    wait_until(lambda: len(strategy_of(router).lessons) == 10)


def test_a_single_outcome_waits_no_longer_than_told(make_router):
    router = make_router([Counting], batch_events=1_000, batch_seconds=0.05)
    router.record(router.route("x"), Outcome(quality=0.5))
    wait_until(lambda: len(strategy_of(router).lessons) == 1)


def test_outcomes_of_another_process_are_learnt_too(make_router):
    mine = make_router([Counting], batch_events=5)
    theirs = make_router([Counting], batch_events=1_000)
    for _ in range(5):
        theirs.record(theirs.route("x"), Outcome(quality=0.5))
    wait_until(lambda: len(strategy_of(mine).lessons) == 5)


def test_status_says_how_far_learning_is_behind_the_log(make_router):
    router = make_router([Counting], batch_events=1_000, batch_seconds=600.0)
    for _ in range(4):
        router.record(router.route("x"), Outcome(quality=0.5))
    assert router.status()["learner"]["lag"] >= 4
    router.flush()
    assert router.status()["learner"]["lag"] == 0


def test_flush_waits_for_everything_recorded_before(make_router):
    router = make_router([Counting])
    for i in range(300):
        router.record(router.route("x"), Outcome(quality=(i % 5) / 4))
    router.flush()
    assert len(strategy_of(router).lessons) == 300
    assert sum(count for count, _ in strategy_of(router).state.values()) == 300


def test_nobody_rests_while_somebody_waits_for_what_is_learnt(make_router, monkeypatch):
    router = make_router([Counting], batch_events=100_000, batch_seconds=600.0)
    for _ in range(600):  # three batches
        router.record(router.route("x"), Outcome(quality=0.5))
    rests = []

    class Rests(Bell):
        def wait(self, seconds):
            rests.append(seconds)

    monkeypatch.setattr(router._parts.learner, "_urgent", Rests())
    router.flush()
    assert len(strategy_of(router).batches) >= 2
    assert rests == []


def test_learning_now_needs_no_flush(make_router):
    router = make_router([Counting], learn_now=True)
    router.record(router.route("x"), Outcome(quality=0.5))
    assert len(strategy_of(router).lessons) == 1


def test_without_learning_what_was_learnt_is_served_and_stays(make_router):
    first = make_router([Counting])
    first.observe("x", "billing", Outcome(quality=1.0))
    first.close()
    second = make_router([Counting], learning=False)
    assert strategy_of(second).state == {("billing", "default"): (1, 1_000)}
    second.observe("x", "billing", Outcome(quality=1.0))
    second.flush()
    assert strategy_of(second).state == {("billing", "default"): (1, 1_000)}


def test_every_update_is_journalled_with_its_figures(make_router):
    router = make_router([Counting])
    for _ in range(3):
        router.observe("x", "billing", Outcome(quality=1.0))
        router.flush()
    found = router.statistics()
    assert found["total_updates"] == found["successful_updates"] == 3
    assert (found["failed_updates"], found["samples_processed"]) == (0, 3)
    assert found["avg_update_time_ms"] >= 0
    assert (found["retrain_count"], found["next_retrain_in"]) == (0, None)


def test_a_strategy_that_fails_to_learn_says_so_and_stops_nobody(make_router, caplog):
    class Failing(Counting):
        name = "failing"

        def learn(self, examples):
            if any(example.reward == 0.0 for example in examples):
                raise ValueError("cannot learn from 'my card is 4111'")
            super().learn(examples)

    router = make_router([Failing, Counting])
    router.observe("x", "billing", Outcome(quality=0.0))
    router.flush()
    router.observe("x", "coder", Outcome(quality=1.0))
    router.flush()
    assert [stage.strategy.state.get(("coder", "default")) for stage in router._parts.chain.stages] == [(1, 1_000)] * 2
    assert router.status()["learner"]["refused"] == {"failing": 1}
    assert router.statistics()["failed_updates"] == 1
    router.snapshot()
    saved = router._parts.store.reader.query(lambda c: c.execute("SELECT DISTINCT strategy FROM snapshots").fetchall())
    assert sorted(name for (name,) in saved) == [
        "calibration",
        "counting",
        "drift",
        "failing",
        "performance",
        "selection",
    ]
    errors = router._parts.store.reader.query(
        lambda c: c.execute("SELECT error FROM learning_events WHERE error IS NOT NULL").fetchall()
    )
    assert errors == [("ValueError",)]
    assert "4111" in caplog.text, "the traceback is for the operator's log"


def test_requests_go_on_while_a_strategy_learns(make_router, tmp_path):
    strategy = build(Stubborn, tmp_path)
    router = make_router([strategy], batch_events=1)
    router.record(router.route("x"), Outcome(success=True))
    assert strategy.learning.wait(PATIENCE_S)
    try:
        started = time.monotonic()
        for _ in range(20):
            router.record(router.route("x"), Outcome(success=True))
        assert time.monotonic() - started < 5.0
    finally:
        strategy.let_go.set()
    router.flush()
    assert len(strategy.lessons) == 21


def test_who_asks_while_the_router_closes_is_served_or_told(make_router, tmp_path):
    strategy = build(Stubborn, tmp_path)
    router = make_router([strategy], batch_events=1)
    router.record(router.route("x"), Outcome(success=True))
    assert strategy.learning.wait(PATIENCE_S)
    ended = []

    def ask():
        try:
            router.flush()
            ended.append("served")
        except RouterClosedError:
            ended.append("told")

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    closing = threading.Thread(target=router.close, daemon=True)
    for thread in [*threads[:2], closing, *threads[2:]]:
        thread.start()
    strategy.let_go.set()
    for thread in [*threads, closing]:
        thread.join(PATIENCE_S)
    assert len(ended) == 4
    with pytest.raises(RouterClosedError):
        router.flush()


def test_a_request_that_meets_the_end_is_never_forgotten(make_router):
    """Between the check and the queue, the router closes."""
    router = make_router([Counting])
    learner = router._parts.learner
    made, go_on = threading.Event(), threading.Event()

    class Slow(Promise):
        def __init__(self):
            super().__init__()
            if threading.current_thread() is asking:
                made.set()
                assert go_on.wait(PATIENCE_S)

    ended = []

    def ask():
        try:
            learner.drain()
            ended.append("served")
        except RouterClosedError:
            ended.append("told")

    asking = threading.Thread(target=ask, daemon=True)
    module = __import__(type(learner).__module__, fromlist=["Promise"])
    module.Promise, original = Slow, module.Promise
    try:
        asking.start()
        assert made.wait(PATIENCE_S)
        module.Promise = original
        closing = threading.Thread(target=router.close, daemon=True)
        closing.start()
        closing.join(1.0)
        go_on.set()
        asking.join(3.0)
        assert ended != []
    finally:
        module.Promise = original
        go_on.set()


def test_tasks_reach_learning_with_text_and_features(make_router):
    seen = []

    class Reading(Counting):
        def learn(self, examples):
            seen.extend((example.task.text, example.task.features, example.eligible) for example in examples)

    router = make_router([Reading])
    router.record(router.route(Task("hello", features={"mape": 1.5})), Outcome(success=True))
    router.flush()
    assert seen == [("hello", {"mape": 1.5}, ("analyst", "billing", "coder"))]


# -- pace


def test_the_longer_the_backlog_the_shorter_the_rests():
    rests = [rest_s(0.1, backlog) for backlog in (0, 512, 4_096, 40_000, 1_000_000)]
    assert rests[0] == pytest.approx(0.8)
    assert rests == sorted(rests, reverse=True)
    assert rests[2] < 0.1  # half of the time
    assert rests[4] < 0.001


WATCHED = """
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
from router_sdk import Outcome, Router
from unit.doubles import Counting

def threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

class Watching(Counting):
    def learn(self, examples):
        print(threads())
        super().learn(examples)

with Router(["a", "b"], [Watching], ":memory:", learn_now=True) as router:
    print(threads())
    router.observe("x", "a", Outcome(quality=1.0))
    print(threads())
"""


def test_an_update_has_one_thread_of_blas_and_gives_the_others_back():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n") == ["{2}", "{1}", "{2}", ""]
