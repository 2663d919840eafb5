"""``kill -9`` in the middle of everything: what was acknowledged is in the log, and the next process learns it.

The victim is this very file, run as a program.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count

import pytest

from router_sdk import Outcome, Router, Task

AGENTS = ("billing", "fraud", "sales")
CALLERS = 8
LEAST_ACKNOWLEDGED = 100

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")


def open_router(path) -> Router:
    return Router(agents=AGENTS, strategies=["thompson"], store=path, batch_events=7, snapshot_seconds=0.1, seed=0)


def victim(path: str) -> None:
    """Route and record with many callers until killed; one line to stdout for each acknowledged outcome."""
    router = open_router(path)

    def call(caller: int) -> None:
        for turn in count():
            decision = router.route(Task(f"caller {caller}, turn {turn}", session_id=f"session-{caller}"))
            whole = turn % 4 > 0
            router.record(decision if whole else decision.decision_id, Outcome(success=turn % 3 > 0, response="done"))
            os.write(sys.stdout.fileno(), f"{'whole' if whole else 'by-id'} {decision.decision_id}\n".encode())

    callers = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


@contextmanager
def running_victim(path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, __file__, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_after(process: subprocess.Popen[str], acknowledgements: int) -> dict[str, str]:
    """Everything that the victim acknowledged before it died: decision id to how it was recorded."""
    read = [process.stdout.readline() for _ in range(acknowledgements)]
    os.kill(process.pid, signal.SIGKILL)
    read += process.stdout.readlines()  # acknowledged between the last line read and the kill
    lines = [line.split() for line in read if line.endswith("\n")]
    return {decision_id: kind for kind, decision_id in lines}


def ids_in(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[0] for row in connection.execute(f"SELECT decision_id FROM {table}")}


def test_every_acknowledged_outcome_survives_kill_9_and_is_learnt_once(tmp_path, request) -> None:
    path = tmp_path / "router.db"
    rounds = 50 if request.config.getoption("--reliability", default=False) else 3
    chance = random.Random(7)
    acknowledged: dict[str, str] = {}
    for _ in range(rounds):
        with running_victim(path) as process:
            acknowledged |= kill_after(process, LEAST_ACKNOWLEDGED + chance.randrange(100))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            decisions, outcomes = ids_in(connection, "decisions"), ids_in(connection, "outcomes")
        assert acknowledged.keys() <= outcomes
        assert {decision_id for decision_id, kind in acknowledged.items() if kind == "whole"} <= decisions
    assert len(acknowledged) >= rounds * LEAST_ACKNOWLEDGED

    with open_router(path) as router:
        router.flush()
        executions = {report.agent: report.executions for report in router.agent_performance()}
        assert router.statistics()["total_examples"] == len(decisions & outcomes)
        evidence = router.status()["strategies"][0]["events"]
    with closing(sqlite3.connect(path)) as connection:
        query = """SELECT agent, count(*) FROM decisions
                   WHERE decision_id IN (SELECT decision_id FROM outcomes) GROUP BY agent"""
        assert executions == dict(connection.execute(query).fetchall())
    assert evidence == len(decisions & outcomes)


@pytest.mark.slow
def test_a_killed_process_stands_in_nobody_s_way(tmp_path) -> None:
    path = tmp_path / "router.db"
    with open_router(path) as bystander:
        for _ in range(2):
            with running_victim(path) as process:
                kill_after(process, LEAST_ACKNOWLEDGED)
            decision = bystander.route("still there?")
            bystander.record(decision, Outcome(success=True))
            assert bystander.decision(decision.decision_id) == decision


if __name__ == "__main__":
    victim(sys.argv[1])
