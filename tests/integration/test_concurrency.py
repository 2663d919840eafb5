"""Thirty-two threads and one file: no error, no torn state, exact counts."""

import math
import sqlite3
import sys
import threading
from contextlib import closing, contextmanager

import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import RouterClosedError, StoreUnavailableError
from router_sdk.plugin import Strategy
from router_sdk.plugins import PluginRegistry
from router_sdk.testing import make_services

THREADS = 32
TURNS = 40
STEADY = ("billing", "fraud", "sales")
COMING_AND_GOING = ("temp-1", "temp-2", "temp-3")


@pytest.fixture
def hasty_switches():
    """Let the interpreter switch threads wherever it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@contextmanager
def together(works):
    """Run each in a thread of its own, started at one moment; whatever one raises is raised here."""
    faults: list[BaseException] = []
    gate = threading.Barrier(len(works) + 1)

    def run(work) -> None:
        try:
            gate.wait(30)
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    gate.wait(30)
    yield threads
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if faults:
        raise faults[0]


def forgetless_thompson(tmp_path) -> Strategy:
    """Thompson sampling that counts every observation as one, whatever happens later."""
    thompson = PluginRegistry.load().strategy("thompson")
    return thompson(thompson.Config(half_life_s=None, change_threshold=None), make_services(tmp_path / "services"))


def state_of(strategy: Strategy, folder) -> dict[str, bytes]:
    folder.mkdir()
    strategy.save(folder)
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_32_threads_route_and_record_while_agents_come_and_go(tmp_path, hasty_switches) -> None:
    path = tmp_path / "router.db"
    thompson = forgetless_thompson(tmp_path)
    existed = {frozenset(STEADY)}
    decisions: list[list] = [[] for _ in range(THREADS)]
    with Router(STEADY, [thompson, "heuristic"], path, batch_events=3, seed=0) as router:

        def work(number: int) -> None:
            for turn in range(TURNS):
                task = Task("a task", task_type=f"type-{turn % 3}", session_id=f"session-{number}")
                if turn % 10 == 9:
                    made = router.route_batch([task, task])
                else:
                    made = [router.route(task, exclude={"sales"} if turn % 7 == 0 else ())]
                decisions[number] += made
                for decision in made:
                    outcome = Outcome(success=decision.agent != "fraud")
                    router.record(decision if turn % 2 else decision.decision_id, outcome)
                    if turn % 5 == 0:
                        router.record(decision, Outcome(success=True, quality=0.5))

        def churn() -> None:
            present = set(STEADY)
            for turn in range(30):
                name = COMING_AND_GOING[turn % 3]
                if name in present:
                    present.remove(name)
                    existed.add(frozenset(present))
                    router.remove_agent(name)
                else:
                    present.add(name)
                    existed.add(frozenset(present))
                    router.add_agent(Agent(name, description=f"turn {turn}"))
                router.set_health("billing", healthy=turn % 2 == 1)
                router.agent_performance()
                router.statistics()
                router.status()
            router.set_health("billing", healthy=True)

        with together([*(lambda number=number: work(number) for number in range(THREADS)), churn]):
            pass
        router.flush()
        made = [decision for each in decisions for decision in each]
        report = {each.agent: each.executions for each in router.agent_performance()}
        statistics = router.statistics()
        stages = router.status()["strategies"]
        learnt = state_of(thompson, tmp_path / "learnt")

    assert len({decision.decision_id for decision in made}) == len(made) == THREADS * (TURNS + TURNS // 10)
    unavailable = ((), ("sales",), ("billing",), ("sales", "billing"))  # excluded, unhealthy
    possible = {agents.difference(names) for agents in existed for names in unavailable}
    for decision in made:
        drawn_from = frozenset(decision.probabilities)
        assert drawn_from in possible
        assert math.fsum(decision.probabilities.values()) == pytest.approx(1.0, abs=1e-9)
        assert decision.probabilities[decision.agent] == decision.propensity
        assert all(step.reason == "abstained" for step in decision.skipped)
    assert [stage["failures"] for stage in stages] == [0, 0]
    assert (statistics["failed_updates"], statistics["total_examples"]) == (0, len(made))
    assert sum(agent["mass"] for agent in stages[0]["agents"].values()) == len(made)
    chosen = [decision.agent for decision in made]
    assert {name: count for name, count in report.items() if count} == {
        name: chosen.count(name) for name in report if name in chosen
    }
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM decisions").fetchone() == (len(made),)
        for table in ("decisions", "outcomes", "agents"):
            order = f"SELECT count(*), count(DISTINCT seq) FROM {table}"
            rows, places = connection.execute(order).fetchone()
            assert rows == places

    replayed = forgetless_thompson(tmp_path)
    (tmp_path / "router.db.artifacts").rename(tmp_path / "no snapshots")
    with Router(STEADY, [replayed, "heuristic"], path):
        assert state_of(replayed, tmp_path / "replayed") == learnt


def test_one_decision_told_by_32_threads_at_once_is_one_execution(tmp_path, hasty_switches) -> None:
    thompson = forgetless_thompson(tmp_path)
    with Router(STEADY, [thompson], tmp_path / "router.db", batch_events=1) as router:
        decision = router.route("a task")
        works = [lambda: router.record(decision, Outcome(success=True), outcome_id="the one delivery")] * 16
        works += [lambda: router.record(decision, Outcome(success=True))] * 16
        with together(works):
            pass
        router.flush()
        assert router.status()["store"]["outcomes"] == 17
        assert sum(report.executions for report in router.agent_performance()) == 1
        assert {name: seen["mass"] for name, seen in thompson.report()["agents"].items()} == {decision.agent: 1.0}


def test_one_idempotency_key_gives_32_threads_one_decision(tmp_path, hasty_switches) -> None:
    found: list[str] = []
    with Router(STEADY, ["thompson"], tmp_path / "router.db") as router:

        def work() -> None:
            found.append((decision := router.route("a task", idempotency_key="order-1")).decision_id + decision.agent)

        with together([work] * THREADS):
            pass
        assert len(found) == THREADS
        assert len(set(found)) == 1
        assert router.status()["store"]["decisions"] == 1


def test_closing_among_recorders_loses_nothing_that_was_acknowledged(tmp_path, hasty_switches) -> None:
    path = tmp_path / "router.db"
    router = Router(STEADY, ["thompson"], path, batch_events=5)
    acknowledged: list[str] = []
    enough = threading.Event()

    def work() -> None:
        while True:
            try:
                decision = router.route("a task")
                router.record(decision, Outcome(success=True))
            except (RouterClosedError, StoreUnavailableError):
                return
            acknowledged.append(decision.decision_id)
            if len(acknowledged) > 100:
                enough.set()

    def close() -> None:
        assert enough.wait(30)
        router.close()

    with together([work] * 8 + [close]):
        pass
    with closing(sqlite3.connect(path)) as connection:
        joined = "SELECT decision_id FROM outcomes JOIN decisions USING (decision_id)"
        assert set(acknowledged) <= {row[0] for row in connection.execute(joined)}
