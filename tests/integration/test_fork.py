"""Forks of a program that routes: parent and child both go on, and nothing is lost, doubled or mixed up.

Each scenario runs this very file as a program of its own: pytest's process is no place to fork from.
"""

import multiprocessing
import os
import sqlite3
import sys
import threading
from contextlib import closing
from typing import Any

import pytest
from programs import in_child, main, run

from router_sdk import Outcome, Router, Task
from router_sdk.plugin import no_fork

AGENTS = ("billing", "fraud", "sales")
CHILD_LIMIT_S = 30

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def open_router(path: str, **settings: Any) -> Router:
    return Router(agents=AGENTS, strategies=["thompson"], store=path, **{"batch_events": 5, **settings})


def route_and_record(router: Router, session: str) -> str:
    decision = router.route(Task("who takes this?", session_id=session))
    router.record(decision, Outcome(success=True))
    return decision.decision_id


# -- scenarios, each in a process of its own


def busy(path: str) -> object:
    """Fork again and again while six threads route, record and learn."""
    router, over = open_router(path), threading.Event()
    mine: list[str] = []

    def work(number: int) -> None:
        while not over.is_set():
            mine.append(route_and_record(router, f"parent-{number}"))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    children: list[tuple[int, Any]] = []
    for turn in range(25):
        children.append(in_child(lambda turn=turn: [route_and_record(router, f"child-{turn}") for _ in range(3)]))
        if children[-1][0]:
            break
    over.set()
    for worker in workers:
        worker.join()
    router.close()
    return {"parent": mine, "children": children}


def quiet(path: str) -> object:
    """The child goes on learning from where its parent stood, and closes; the parent goes on."""
    router = open_router(path)
    for turn in range(20):
        route_and_record(router, f"before-{turn}")
    router.flush()

    def work() -> object:
        route_and_record(router, "child")
        router.flush()
        learnt = router.statistics()["total_examples"]
        router.close()
        return learnt

    code, learnt = in_child(work)
    route_and_record(router, "after")
    router.flush()
    known = router.statistics()["total_examples"]
    router.close()
    return {"code": code, "child": learnt, "parent": known}


def randomness(path: str) -> object:
    """Parent and child draw on from what was one pool of ids and one seeded generator."""
    router = open_router(path, seed=1)
    router.route("fills the pool")

    def draw() -> list[list[str]]:
        decisions = [router.route("next") for _ in range(500)]
        return [[decision.decision_id for decision in decisions], [decision.agent for decision in decisions]]

    code, child = in_child(draw)
    drawn = draw()
    router.close()
    return {"code": code, "child": child, "parent": drawn}


def by_multiprocessing(path: str) -> object:
    """The standard library's own way to fork, with children that end as it ends them."""
    router = open_router(path)
    route_and_record(router, "before")
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=route_and_record, args=(router, f"child-{number}")) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(CHILD_LIMIT_S)
    route_and_record(router, "after")
    router.close()
    return [child.exitcode for child in children]


def many_at_once(path: str) -> object:
    """Several threads fork at the same moment, and the interpreter switches between them whenever it can."""
    router, codes, ready = open_router(path), [], threading.Barrier(4)
    sys.setswitchinterval(1e-6)

    def fork_some() -> None:
        for _ in range(5):
            ready.wait()
            codes.append(in_child(lambda: route_and_record(router, "child"))[0])

    threads = [threading.Thread(target=fork_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    router.flush()
    router.close()
    return codes


def outlives(path: str) -> object:
    """The parent closes its router, the last to use the file as far as it knows; the child goes on after that."""
    router = open_router(path)
    route_and_record(router, "before")
    fork = multiprocessing.get_context("fork")
    mine, childs = fork.Pipe()

    def work() -> None:
        childs.send(route_and_record(router, "child"))
        childs.recv()
        for _ in range(3):
            childs.send(route_and_record(router, "orphan"))
        router.close()

    child = fork.Process(target=work)
    child.start()
    recorded = [mine.recv()]
    router.close()
    mine.send("the parent has closed")
    recorded += [mine.recv() for _ in range(3)]
    child.join(CHILD_LIMIT_S)
    return {"code": child.exitcode, "child": recorded}


def throw_away(path: str) -> object:
    """A temporary store belongs to the parent, whatever the child does at its end."""
    router = open_router(":memory:")
    route_and_record(router, "before")

    def work() -> None:
        route_and_record(router, "child")
        router.close()

    code, _ = in_child(work)
    route_and_record(router, "after")
    router.flush()
    learnt = router.statistics()["total_examples"]
    router.close()
    return {"code": code, "learnt": learnt}


def held_back(path: str) -> object:
    """A fork waits for what another thread must not have cut in two, and not for its own."""
    inside, go_on = threading.Event(), threading.Event()
    order = []

    def work() -> None:
        with no_fork(), no_fork():
            inside.set()
            go_on.wait()
            order.append("the block ends")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    threading.Timer(0.2, go_on.set).start()
    codes = [in_child(lambda: order.append("in a child") or order)]
    order.append("the fork")
    with no_fork():
        codes.append(in_child(lambda: None))
    return {"order": order, "codes": codes}


# -- what they must show


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router.db"


def logged_in(path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return sorted(row[0] for row in connection.execute(f"SELECT decision_id FROM {table}"))


def test_children_of_a_busy_program_route_and_record(path) -> None:
    said = run(busy, path)
    assert [code for code, _ in said["children"]] == [0] * 25
    recorded = [*said["parent"], *(each for _, child in said["children"] for each in child)]
    assert len(set(recorded)) == len(recorded)
    assert logged_in(path, "decisions") == logged_in(path, "outcomes") == sorted(recorded)
    with open_router(path) as router:
        assert sum(report.executions for report in router.agent_performance()) == len(recorded)


def test_a_child_learns_on_from_where_its_parent_stood(path) -> None:
    assert run(quiet, path) == {"code": 0, "child": 21, "parent": 22}


def test_parent_and_child_share_neither_ids_nor_draws(path) -> None:
    said = run(randomness, path)
    assert said["code"] == 0
    (parents_ids, parents_choices), (childs_ids, childs_choices) = said["parent"], said["child"]
    random_parts = {decision_id[12:] for decision_id in (*parents_ids, *childs_ids)}  # after twelve digits of time
    assert len(random_parts) == 1_000
    assert parents_choices != childs_choices


def test_multiprocessing_may_fork(path) -> None:
    assert run(by_multiprocessing, path) == [0, 0, 0]
    assert len(logged_in(path, "outcomes")) == len(logged_in(path, "decisions")) == 5


def test_several_threads_may_fork_at_once(path) -> None:
    assert run(many_at_once, path) == [0] * 20
    assert len(logged_in(path, "outcomes")) == 20


def test_a_child_may_outlive_its_parents_router(path) -> None:
    said = run(outlives, path)
    assert said["code"] == 0
    logged = logged_in(path, "decisions")
    assert logged == logged_in(path, "outcomes")
    assert {*said["child"]} <= {*logged}
    assert len(logged) == 5


def test_a_child_leaves_the_parents_temporary_store_alone(path) -> None:
    assert run(throw_away, path) == {"code": 0, "learnt": 3}


def test_a_fork_waits_for_what_a_child_must_not_inherit_half(path):
    said = run(held_back, path)
    assert said["order"] == ["the block ends", "the fork"]
    assert said["codes"] == [[0, ["the block ends", "in a child"]], [0, None]]


if __name__ == "__main__":
    main(globals())
