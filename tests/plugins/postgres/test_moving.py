"""A log from SQLite to PostgreSQL and back: what was learnt is the same, to the last bit."""

import hashlib

import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.store import Store
from router_sdk.store.migration import migrate

pytestmark = pytest.mark.services

AGENTS = [Agent("billing", description="invoices and refunds"), Agent("technical", description="crashes")]
CHAIN = ["thompson", "heuristic"]


def saved(router):
    """What stands in the strategies' newest snapshots, file by file."""
    router.snapshot()
    store = router._parts.store
    query = "SELECT strategy, folder FROM snapshots ORDER BY id"
    newest = dict(store.reader.query(lambda connection: connection.execute(query).fetchall()))
    return {
        (name, path.name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, folder in newest.items()
        for path in (store.folder / "snapshots" / folder).iterdir()
        if name == "thompson"
    }


def moved(source, target):
    old, new = Store(source, read_only=True), Store(target)
    try:
        return migrate(old, new)
    finally:
        old.close()
        new.close()


def test_there_and_back_again(store_url, tmp_path):
    first, last = tmp_path / "first.db", tmp_path / "last.db"
    with Router(AGENTS, CHAIN, first, seed=1) as router:
        for number in range(120):
            task = Task(f"text {number % 9}", task_type="t", session_id=f"s{number % 7}", features={"x": number / 7})
            decision = router.route(task, idempotency_key=f"k{number}")
            router.record(decision, Outcome(success=decision.agent == "technical", latency_ms=number / 3))
        router.forget("s3")
        router.flush()
        before, ranked = saved(router), router.rank(Task("x", task_type="t"))
        key = router.route(Task("again"), idempotency_key="again").decision_id
    assert moved(first, store_url).missing == ()
    with Router(AGENTS, CHAIN, store_url, seed=1) as router:
        assert router.status()["learner"]["lag"] == 0
        assert (saved(router), router.rank(Task("x", task_type="t"))) == (before, ranked)
        assert router.route(Task("again"), idempotency_key="again").decision_id == key
        decision = router.route(Task("more", task_type="t"))
        router.record(decision, Outcome(success=True))
    with pytest.raises(ValueError, match="is not empty"):
        moved(first, store_url)
    done = moved(store_url, last)
    assert (done.rows["decisions"], done.rows["outcomes"]) == (122, 121)
    with Router(AGENTS, CHAIN, store_url, seed=1) as there, Router(AGENTS, CHAIN, last, seed=1) as back:
        assert saved(back) == saved(there)
        assert back.rank(Task("x", task_type="t")) == there.rank(Task("x", task_type="t"))
