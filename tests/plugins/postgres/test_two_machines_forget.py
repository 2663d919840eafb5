"""Two machines forget at once: each writes snapshots anew of which the other has copies, and both come to an end."""

import time

import pytest

from router_sdk import Outcome, Router, Task, erasing, upkeep
from router_sdk.store.coordination import pending_intents

pytestmark = pytest.mark.services


def work(router, session):
    for number in range(5):
        router.record(router.route(Task(f"hello {number}", session_id=session)), Outcome(success=True))
    router.flush()


def test_two_machines_forget_and_what_is_open_is_finished(database, tmp_path, monkeypatch):
    monkeypatch.setattr(erasing, "_KILLED_S", 3.0)  # instead of a minute
    monkeypatch.setattr(upkeep, "WRITTEN_S", 4.0)
    one, two = (Router(["x", "y"], ["thompson"], f"{database}&folder={tmp_path}/{place}") for place in (1, 2))
    with one, two:
        work(one, "first")
        work(two, "second")
        one.snapshot()
        two.snapshot()
        assert one.forget("first") == 5
        work(two, "third")
        assert two.forget("second") == 5
        deadline = time.monotonic() + 60.0
        while two._parts.store.reader.query(pending_intents):
            assert time.monotonic() < deadline
            time.sleep(0.1)
