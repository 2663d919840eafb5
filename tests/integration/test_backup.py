"""Backups with real routers, threads and processes: nothing acknowledged is lost, and what is restored goes on.

The other processes are this very file, run as a program.
"""

import itertools
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import forked_programs
import pytest

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import CorruptArtifactError, InvalidInputError, StoreUnavailableError
from router_sdk.store.restore import restore

AGENTS = ("billing", "fraud", "sales")
TURN = 5
"""Decisions that are logged in one transaction, with their outcomes."""
LIMIT_S = 60.0
PAUSE_S = 0.03
"""Between two turns of a writer: as fast as a disk is, so that a fast one does not make the log long."""


def open_router(path, **settings) -> Router:
    return Router(agents=AGENTS, strategies=["thompson"], store=path, seed=0, **settings)


def turn(router: Router, name: str) -> list[str]:
    """Log one session in one transaction; the ids of what was acknowledged."""
    tasks = [Task(f"{name}, step {step}", session_id=name) for step in range(TURN)]
    observed = [(task, AGENTS[step % 3], Outcome(quality=step / TURN)) for step, task in enumerate(tasks)]
    return [decision.decision_id for decision in router.observe_batch(observed)]


def learnt(router: Router, folder: Path) -> dict[str, object]:
    """Everything that was learnt: figures and reports, and the posterior byte for byte."""
    router.flush()
    folder.mkdir()
    router.strategy("thompson").save(folder)
    return {
        "posterior": {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()},
        "statistics": router.statistics(),
        "agents": [report.to_dict() for report in router.agent_performance()],
        "ranking": router.rank("a new task"),
    }


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# -- the other processes


def record(path: str) -> None:
    """Log turn after turn, a line for each, until stdin ends."""
    with open_router(path, snapshot_seconds=0.2) as router:
        ended = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        for number in itertools.count():
            if ended.wait(PAUSE_S):
                return
            print(*turn(router, f"other-{number}"), flush=True)


def back_up(path: str, folder: str, share: str) -> None:
    """Back up once in peace, and a second time until so large a share of it is on disk."""
    fsync, left = os.fsync, [math.inf, 0]

    def counted(descriptor: int) -> None:
        left[0] -= 1
        left[1] += 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = counted
    with open_router(path, read_only=True) as router:
        router.backup(Path(folder) / "whole")
        left[0] = max(1, round(float(share) * left[1]))
        router.backup(Path(folder) / "cut off")


def hold(path: str) -> None:
    """Have the store open, and do nothing."""
    with open_router(path) as router:
        router.flush()
        print("open", flush=True)
        sys.stdin.read()


@contextmanager
def another_process(work, *arguments):
    command = [sys.executable, __file__, work.__name__, *map(str, arguments)]
    with forked_programs.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(LIMIT_S)


# -- while others write


@pytest.mark.slow
def test_a_backup_while_everybody_writes_loses_nothing_and_halves_nothing(tmp_path) -> None:
    path = tmp_path / "router.db"
    acknowledged: list[str] = []
    heard, stop = threading.Event(), threading.Event()

    with open_router(path, snapshot_seconds=0.2) as router, another_process(record, path) as other:

        def write(writer: int) -> None:
            for number in itertools.count():
                if stop.wait(PAUSE_S):
                    return
                acknowledged.extend(turn(router, f"writer-{writer}-{number}"))

        def listen() -> None:
            for number, line in enumerate(other.stdout):
                acknowledged.extend(line.split())
                if number == 20:
                    heard.set()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        threads.append(threading.Thread(target=listen))
        for thread in threads:
            thread.start()
        try:
            restored = []
            assert heard.wait(LIMIT_S)
            for number in range(2):
                before = list(acknowledged)
                report = router.backup(tmp_path / f"backup-{number}")
                assert report.verified
                assert report.damaged == ()
                restored.append((before, restore(tmp_path / f"backup-{number}", tmp_path / f"{number}.db").path))
        finally:
            stop.set()
            other.stdin.close()
            for thread in threads:
                thread.join()
    for before, copy in restored:
        assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
        assert set(before) <= {
            one for (one,) in rows(copy, "SELECT decision_id FROM decisions JOIN outcomes USING (decision_id)")
        }
        sessions = Counter(session for (session,) in rows(copy, "SELECT session_id FROM payloads"))
        assert set(sessions.values()) == {TURN}
        assert any(session.startswith("other-") for session in sessions)
        with open_router(copy) as router:
            router.flush()
            assert router.statistics()["total_examples"] == sum(sessions.values())
            assert turn(router, "goes on")


# -- what is restored


@pytest.mark.parametrize("snapshot", [True, False])
def test_what_was_learnt_is_restored_bit_by_bit(tmp_path, snapshot) -> None:
    with open_router(tmp_path / "router.db") as router:
        for number in range(40):
            turn(router, f"session-{number}")
            decision = router.route(Task(f"task {number}", task_type=f"type-{number % 3}", features={"x": number}))
            router.record(decision, Outcome(success=number % 3 > 0, latency_ms=float(number)))
            router.record(decision, Outcome(feedback=1.0))
            if snapshot and number == 20:
                router.snapshot()
        router.flush()
        report = router.backup(tmp_path / "backup")
        there = learnt(router, tmp_path / "there")
    assert (report.decisions, report.outcomes) == (240, 280)
    with open_router(restore(tmp_path / "backup", tmp_path / "new" / ".." / "new.db").path) as router:
        assert learnt(router, tmp_path / "here") == there


def test_what_was_archived_is_restored_with_what_it_taught(tmp_path) -> None:
    with open_router(tmp_path / "router.db") as router:
        for number in range(20):
            turn(router, f"session-{number}")
        assert router.archive(older_than=timedelta()) == 100
        turn(router, "later")
        router.flush()
        report = router.backup(tmp_path / "backup")
        there = learnt(router, tmp_path / "there")
    assert (report.verified, report.decisions) == (True, TURN)
    path = restore(tmp_path / "backup", tmp_path / "new.db").path
    with open_router(path) as router:
        assert learnt(router, tmp_path / "here") == there
    assert len(list((tmp_path / "new.db.artifacts" / "archive").iterdir())) == 1


def test_what_to_archive_is_a_time_or_an_age(tmp_path) -> None:
    with open_router(tmp_path / "router.db") as router:
        for wrong in ({}, {"before": 1.0, "older_than": timedelta(days=1)}, {"older_than": timedelta(days=-1)}):
            with pytest.raises(InvalidInputError):
                router.archive(**wrong)
        for strange in ("2020-01-01", 10**30, float("nan"), [1], True, "x\ud800"):
            with pytest.raises(InvalidInputError, match="before: expected a time"):
                router.archive(strange)
        with pytest.raises(InvalidInputError, match="older_than: expected a timedelta"):
            router.archive(older_than=90)
        assert router.status()["upkeep"]["unfinished"] == []
        assert router.forget("nobody's") == 0
        turn(router, "now")
        assert router.archive(0.0) == router.archive(before=0.0) == router.archive(older_than=timedelta(days=1)) == 0


def test_the_version_that_served_serves(tmp_path) -> None:
    from fitted_strategy import Words

    def words(path) -> Router:
        options = {"retrain": False, "fit_executor": "thread", "epsilon": 0.0}
        return Router(agents=[Agent(name) for name in AGENTS], strategies=[Words], store=path, **options)

    with words(tmp_path / "router.db") as router:
        for number in range(20):
            for word, agent in zip(("refund", "stolen", "offer"), AGENTS, strict=True):
                router.observe(f"{word} number {number}", agent=agent, outcome=Outcome(correct_agent=agent))
        router.flush()
        assert router.models.retrain(wait=True).state == "promoted"
        router.models.retrain(wait=True, mode="worse")
        assert router.models.pin("words") == 1
        router.backup(tmp_path / "backup")
        versions = router.models.versions()
        router.models.rollback("words")  # which the backup does not hear of
    with words(restore(tmp_path / "backup", tmp_path / "new.db").path) as router:
        decision = router.route("stolen card")
        assert (decision.agent, decision.model_version) == ("fraud", 1)
        assert router.models.versions() == versions
        assert router.models.report("words", 1).passed
        assert router.status()["strategies"][0]["pinned"]
        assert router.models.promote("words", 2, force=True).version == 2
        assert router.models.rollback("words") == 1


def test_sessions_are_found_and_forgotten_under_the_secret_that_came_along(tmp_path) -> None:
    with open_router(tmp_path / "router.db", privacy="hmac") as router:
        ids = turn(router, "session of mrs zebrawood")
        router.backup(tmp_path / "backup")
    path = restore(tmp_path / "backup", tmp_path / "new.db").path
    with open_router(path, privacy="hmac") as router:
        assert router.record_session("session of mrs zebrawood", Outcome(success=True)) == TURN
        assert router.forget("session of mrs zebrawood") == TURN
    assert {one for (one,) in rows(path, "SELECT decision_id FROM forgotten_decisions")} == set(ids)


def test_a_forget_that_was_cut_off_is_finished_where_it_is_restored(tmp_path) -> None:
    from router_sdk.store.erasure import erase_session

    with open_router(tmp_path / "router.db") as router:
        turn(router, "mrs zebrawood")
        router.snapshot()
        router._parts.upkeep.close()  # nobody goes on here
        store = router._parts.store
        erase_session(store.writer, "mrs zebrawood", store.privacy)
        router.backup(tmp_path / "backup")
    path = restore(tmp_path / "backup", tmp_path / "new.db").path
    with open_router(path) as router:
        assert [one["kind"] for one in router.status()["upkeep"]["unfinished"]] in (["forget"], [])
        router.forget("somebody else")  # settles what came before
        assert router.status()["upkeep"]["unfinished"] == []
    for file in path.parent.glob("new.db*"):
        assert file.is_dir() or b"zebrawood" not in file.read_bytes()


# -- cut off, and in use


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_a_backup_is_whole_or_refused_wherever_its_process_was_killed(tmp_path, share) -> None:
    path = tmp_path / "router.db"
    with open_router(path) as router:
        turn(router, "before")
    with another_process(back_up, path, tmp_path, share) as other:
        assert other.wait(LIMIT_S) == -signal.SIGKILL
    if share == 1.0:  # the manifest was there
        assert restore(tmp_path / "cut off", tmp_path / "new.db").report.decisions == TURN
    else:
        with pytest.raises(CorruptArtifactError, match="cut off"):
            restore(tmp_path / "cut off", tmp_path / "new.db")
        assert not (tmp_path / "new.db").exists()
    assert restore(tmp_path / "whole", tmp_path / "other.db").report.decisions == TURN
    with open_router(path) as router:
        turn(router, "after")


def test_a_store_that_another_process_has_open_is_not_replaced(tmp_path) -> None:
    path = tmp_path / "router.db"
    with open_router(path) as router:
        turn(router, "before")
        router.backup(tmp_path / "backup")
        turn(router, "after")
    with another_process(hold, path) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreUnavailableError, match="open in a process"):
            restore(tmp_path / "backup", path, force=True)
    assert rows(path, "SELECT count(*) FROM decisions") == [(2 * TURN,)]
    done = restore(tmp_path / "backup", path, force=True)
    assert rows(path, "SELECT count(*) FROM decisions") == [(TURN,)]
    with open_router(done.aside) as router:
        assert router.statistics()["total_examples"] == 2 * TURN
    with open_router(path) as router:
        assert router.statistics()["total_examples"] == TURN


def test_a_store_in_memory_is_backed_up_too(tmp_path) -> None:
    with open_router(":memory:") as router:
        turn(router, "fleeting")
        told = router.backup(tmp_path / "backup").to_dict()
    assert json.loads(json.dumps(told)) == told
    with open_router(restore(tmp_path / "backup", tmp_path / "new.db").path) as router:
        assert router.statistics()["total_examples"] == TURN


if __name__ == "__main__":
    {work.__name__: work for work in (record, back_up, hold)}[sys.argv[1]](*sys.argv[2:])
