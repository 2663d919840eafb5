import os
import sys
import threading

import pytest

from router_sdk import Agent, Outcome, Task
from router_sdk.errors import NoEligibleAgentError

from ..doubles import Counting

THREADS, ROUNDS = 32, 20


def strategy_of(router):
    return router._parts.chain.stages[0].strategy


def feed(router, count, start=0):
    for i in range(start, start + count):
        decision = router.route(Task("x", task_type=f"t{i % 3}"))
        router.record(decision, Outcome(quality=(i % 5) / 4, latency_ms=float(i)))


def everything(router):
    router.flush()
    statistics = {
        key: value for key, value in router.statistics().items() if "update" not in key and key != "samples_processed"
    }
    return strategy_of(router).state, statistics, [report.to_dict() for report in router.agent_performance()]


def test_a_restart_resumes_exactly(make_router):
    first = make_router([Counting])
    feed(first, 60)
    first.snapshot()
    feed(first, 60, start=60)
    before = everything(first)
    first.close()
    second = make_router([Counting])
    assert everything(second) == before
    assert strategy_of(second).batches == [], "the snapshot at close holds everything"


def test_without_its_snapshots_a_restart_replays_to_the_same_state(make_router):
    first = make_router([Counting])
    feed(first, 150)
    before = everything(first)
    first.close()
    first._parts.store.folder.rename(first._parts.store.folder.with_name("gone"))
    second = make_router([Counting])
    assert everything(second) == before
    assert sum(strategy_of(second).batches) == 150


def test_another_reward_or_configuration_replays(make_router):
    def halved(factor):
        return lambda signals, agent: None if signals.quality is None else signals.quality * factor

    first = make_router([Counting], agents=["a"], reward=halved(0.5))
    first.observe("x", "a", Outcome(quality=1.0))
    first.close()
    second = make_router([Counting], agents=["a"], reward=halved(0.25))
    assert strategy_of(second).state == {("a", "default"): (1, 250)}
    second.close()
    third = make_router(
        [("counting", {"confidence_threshold": 0.1})], agents=["a"], reward=halved(0.25), plugins=[Brings()]
    )
    assert sum(strategy_of(third).batches) == 1


class Brings:
    from router_sdk.plugin import hookimpl

    @hookimpl
    def register_strategies(self):
        return [Counting]


def test_two_processes_with_other_batches_a_late_correction_and_a_new_agent_agree(make_router):
    one, other = make_router([Counting], batch_events=1), make_router([Counting], batch_events=1_000)
    feed(one, 37)
    late = other.route("x")
    feed(other, 41)
    one.record(late.decision_id, Outcome(quality=0.0))
    one.add_agent(Agent("newcomer"))
    feed(one, 23)
    other.record(late, Outcome(quality=1.0))
    for router in (one, other, one):
        router.flush()
    assert strategy_of(one).state == strategy_of(other).state
    assert strategy_of(one).lessons == strategy_of(other).lessons
    assert everything(one)[1:][0] == everything(other)[1:][0]


def test_many_threads_route_and_record_while_agents_come_and_go(make_router):
    router = make_router([Counting], batch_events=7)
    errors, counted, stop = [], [], threading.Event()

    def work():
        try:
            for i in range(ROUNDS):
                decision = router.route(Task("x", session_id=f"s{i % 4}"))
                assert decision.propensity == decision.probabilities[decision.agent]
                router.record(decision, Outcome(quality=0.5))
                counted.append(decision.decision_id)
        except Exception as error:
            errors.append(error)

    def come_and_go():
        try:
            while not stop.is_set():
                router.add_agent("guest")
                router.agent_performance()
                router.statistics()
                router.remove_agent("guest")
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    coming = threading.Thread(target=come_and_go)
    try:
        for thread in [coming, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        coming.join()
        sys.setswitchinterval(interval)
    assert errors == []
    router.flush()
    assert len(set(counted)) == THREADS * ROUNDS == router.status()["store"]["outcomes"]
    assert sum(count for count, _ in strategy_of(router).state.values()) == THREADS * ROUNDS
    assert router.statistics()["total_examples"] == THREADS * ROUNDS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_routes_records_and_learns_beside_its_parent(make_router):
    router = make_router([Counting])
    feed(router, 5)
    locks = [router._parts.decider.sessions.lock, router._parts.performance.lock]
    for lock in locks:  # another thread of the parent stands in there at the moment of the fork
        lock.acquire()
    child = os.fork()
    if child == 0:
        try:
            decision = router.route(Task("x", session_id="s"))
            router.record(decision, Outcome(quality=1.0))
            router.flush()
            learnt = sum(count for count, _ in strategy_of(router).state.values())
            router.statistics()
            router.close()
            os._exit(learnt)
        except BaseException:
            os._exit(99)
    for lock in locks:
        lock.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (6, 7)
    feed(router, 1)
    router.flush()
    assert sum(count for count, _ in strategy_of(router).state.values()) == 7


def test_a_store_that_follows_the_agents_may_be_empty(make_router):
    with pytest.raises(NoEligibleAgentError, match="add_agent"):
        make_router([Counting], agents=None).route("x")
