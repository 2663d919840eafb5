"""Several processes on one file: feedback is counted once wherever it comes from, and all end with one posterior.

The other processes are this very file, run as a program that does what it is told, line by line.
"""

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import forked_programs
import pytest

from router_sdk import Outcome, Router
from router_sdk.plugins import PluginRegistry
from router_sdk.testing import make_services

AGENTS = ("billing", "fraud", "sales")


@contextmanager
def open_router(path, agents=AGENTS, **settings: Any) -> Iterator[tuple[Router, Any]]:
    """A router and its Thompson strategy, which counts every observation as one, whatever happens later."""
    thompson = PluginRegistry.load().strategy("thompson")
    strategy = thompson(
        thompson.Config(half_life_s=None, change_threshold=None), make_services(Path(path).with_name("services"))
    )
    with Router(agents, [strategy], path, **settings) as router:
        yield router, strategy


# -- the other process


class Remote:
    """What another process does when it is told to."""

    def __init__(self, router: Router, strategy: Any, path: str) -> None:
        self.router, self.strategy, self.path = router, strategy, Path(path)

    def record(self, decision_id: str, **outcome: Any) -> None:
        self.router.record(decision_id, Outcome(**outcome))

    def work(self, turns: int, threads: int = 1) -> list[str]:
        """Route and record; the ids of what was acknowledged."""
        acknowledged: list[str] = []

        def run() -> None:
            for turn in range(turns):
                decision = self.router.route(f"task {turn}")
                self.router.record(decision, Outcome(success=decision.agent != "fraud", latency_ms=float(turn)))
                acknowledged.append(decision.decision_id)

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return acknowledged

    def add_agent(self, name: str) -> None:
        self.router.add_agent(name)

    def state(self, name: str) -> dict[str, str]:
        """What the strategy has learnt, file by file, with the figures of the reports."""
        self.router.flush()
        folder = self.path.with_name(name)
        folder.mkdir()
        self.strategy.save(folder)
        files = {file.name: file.read_bytes().hex() for file in folder.rglob("*") if file.is_file()}
        reports = [report.to_dict() for report in self.router.agent_performance()]
        known = {"total_examples", "avg_quality_score", "current_model_score", "feedback_rate"}
        statistics = {key: value for key, value in self.router.statistics().items() if key in known}
        return {**files, "reports": json.dumps(reports), "statistics": json.dumps(statistics)}


def serve(path: str, batch_events: str, follow: str) -> None:
    """Do what each line says, and answer with a line."""
    agents = None if follow == "True" else AGENTS
    with open_router(path, agents, batch_events=int(batch_events)) as (router, strategy):
        remote = Remote(router, strategy, path)
        for line in sys.stdin:
            name, positional, named = json.loads(line)
            sys.stdout.write(json.dumps(getattr(remote, name)(*positional, **named)) + "\n")
            sys.stdout.flush()


class Other:
    """The handle on another process: ``begin`` lets it work, ``end`` waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def begin(self, name: str, *positional: Any, **named: Any) -> None:
        self._process.stdin.write(json.dumps([name, positional, named]) + "\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        return json.loads(self._process.stdout.readline())

    def __call__(self, name: str, *positional: Any, **named: Any) -> Any:
        self.begin(name, *positional, **named)
        return self.end()


@contextmanager
def another_process(path, batch_events: int = 10, *, follow: bool = False) -> Iterator[Other]:
    command = [sys.executable, __file__, str(path), str(batch_events), str(follow)]
    with forked_programs.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Other(process)
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "router.db"


# -- counted once


def counts(router: Router, strategy: Any) -> tuple[int, int, float]:
    """Executions in the report, examples in the statistics, and observations in the posterior."""
    router.flush()
    executions = sum(report.executions for report in router.agent_performance())
    mass = sum(tally["mass"] for tally in strategy.report()["agents"].values())
    return executions, router.statistics()["total_examples"], mass


def test_parts_and_corrections_from_another_process_after_a_restart_count_once(path) -> None:
    with open_router(path, batch_events=1) as (router, strategy):
        decision = router.route("a task")
        router.record(decision, Outcome(success=True))
        assert counts(router, strategy) == (1, 1, 1.0)
    with another_process(path, 1) as other:
        other("record", decision.decision_id, quality=0.9)
        other("record", decision.decision_id, feedback=-1.0)
        with open_router(path, batch_events=1) as (router, strategy):
            other("record", decision.decision_id, feedback=1.0, latency_ms=20.0)
            assert counts(router, strategy) == (1, 1, 1.0)
            (report,) = [report for report in router.agent_performance() if report.executions]
            assert report.lifetime["reward"] == pytest.approx((0.9 + 1.0) / 2)
            (tally,) = strategy.report()["agents"].values()
            assert tally["reward"] == pytest.approx(0.95)
            remote = json.loads(other("state", "remote")["statistics"])
            assert remote == {key: router.statistics()[key] for key in remote}


# -- one posterior


def test_two_processes_with_different_batches_end_with_the_same_posterior(path) -> None:
    with ExitStack() as stack:
        hasty = stack.enter_context(another_process(path, 1))
        hasty("work", 0)  # its agents are in the log now, for the other to follow
        patient = stack.enter_context(another_process(path, 97, follow=True))
        hasty.begin("work", 60, 3)
        patient.begin("work", 25, 3)
        first, second = hasty.end(), patient.end()
        hasty("add_agent", "support")
        hasty("work", 30)
        patient("record", first[0], success=False, quality=0.1)  # a late correction of the other's decision
        hasty("record", second[0], correct_agent="support")
        patient("work", 5)
        ends = hasty("state", "hasty"), patient("state", "patient")
        reports = [{each.pop("agent"): each for each in json.loads(end.pop("reports"))} for end in ends]
    assert ends[0] == ends[1]
    for name in AGENTS:  # the follower may not have heard of the new agent yet, which only changes the ranks
        assert {**reports[0][name], "rank": None} == {**reports[1][name], "rank": None}
    assert json.loads(ends[0]["statistics"])["total_examples"] == len(first) + len(second) + 35
    with open_router(path, None) as (router, strategy):  # and so does who reads the log from its beginning
        (path.parent / "router.db.artifacts").rename(path.with_name("no snapshots"))
        assert Remote(router, strategy, str(path)).state("third")["statistics"] == ends[0]["statistics"]


# -- no lock errors


def test_four_processes_route_and_record_on_one_file(path) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(another_process(path)) for _ in range(4)]
        for other in others:
            other.begin("work", 40, 4)
        acknowledged = [decision_id for other in others for decision_id in other.end()]
        ends = [json.loads(other("state", f"state-{number}")["statistics"]) for number, other in enumerate(others)]
        totals = {end["total_examples"] for end in ends}
    assert len(set(acknowledged)) == len(acknowledged) == 4 * 4 * 40
    assert totals == {640}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        joined = "SELECT decision_id FROM outcomes JOIN decisions USING (decision_id)"
        assert {row[0] for row in connection.execute(joined)} == set(acknowledged)
        seqs = "SELECT seq FROM outcomes UNION ALL SELECT seq FROM decisions"
        places = [row[0] for row in connection.execute(seqs)]
        assert len(set(places)) == len(places)


if __name__ == "__main__":
    serve(*sys.argv[1:])
