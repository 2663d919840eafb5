"""Every orderly end of a process flushes: what was routed is logged, what was acknowledged is learnt once."""

import concurrent.futures
import gc
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import programs_that_end
import pytest
from programs_that_end import (
    AGENTS,
    LIMIT_S,
    Told,
    check,
    held,
    hold_router,
    open_router,
    route,
    run,
    running,
    say,
    sleep_until,
    work,
)

from router_sdk import Outcome, Router
from router_sdk.errors import StoreBusyError, StoreUnavailableError
from router_sdk.store.reader import LogReader

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes in other ways")


def child_with_its_own(path: str) -> None:
    work(hold_router(path))


def own_routers(path: str, method: str) -> None:
    """Children that each open a router, work, and return."""
    context = multiprocessing.get_context(method)
    children = [context.Process(target=child_with_its_own, args=(path,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(LIMIT_S)
    assert [child.exitcode for child in children] == [0, 0]


def parents_router(path: str) -> None:
    """Children that work with the router of their parent, and return; the parent ends without closing it, too."""
    router = hold_router(path)
    route(router, 3)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(router,)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(LIMIT_S)
    assert [child.exitcode for child in children] == [0, 0, 0]
    work(router)


def worker_turn(_: int) -> None:
    work(held[0])


def pool(path: str, method: str, end: str) -> None:
    workers = multiprocessing.get_context(method).Pool(2, hold_router, (path,))
    workers.map(worker_turn, range(6), chunksize=1)
    getattr(workers, end)()
    workers.join()


def executor(path: str, method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context, hold_router, (path,)) as workers:
        list(workers.map(worker_turn, range(6)))


def prefork(path: str) -> None:
    """A server that loads, forks, and ends its workers by SIGTERM, which they take themselves: ``sys.exit``."""
    router = hold_router(path)
    workers = []
    for _ in range(2):
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            signal.alarm(LIMIT_S)
            signal.signal(signal.SIGTERM, lambda *told: sys.exit(0))
            work(router)
            os.write(writing, b".")
            sleep_until(lambda: False)
        os.read(reading, 1)
        workers.append(worker)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    assert [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers] == [0, 0]
    work(router)


def falls_off_the_end(path: str) -> None:
    for _ in range(2):
        work(hold_router(path))


def exits(path: str) -> None:
    work(hold_router(path))
    sys.exit(3)


def raises(path: str) -> None:
    work(hold_router(path))
    raise ZeroDivisionError("by the program's own fault")


def leaves_a_thread(path: str) -> None:
    """The main thread ends, and with it the program once its last thread has."""
    router, ended = hold_router(path), threading.Event()

    def late() -> None:
        ended.wait()
        work(router)

    threading.Thread(target=late).start()
    route(router, 5)
    ended.set()


def dropped(path: str, end: str) -> None:
    """Nobody holds the router any more, and nobody has closed it; the program goes on."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        router = open_router(path)
        work(router)
        del router
        gc.collect()
    assert [one.category for one in heard] == [ResourceWarning], heard
    assert "dropped without close()" in str(heard[0].message)
    say("dropped")
    if end == "at once":
        return
    sys.stdin.readline()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(LIMIT_S)
            assert not thread.is_alive(), thread.name


# -- what they must show


METHODS = [one for one in ("fork", "spawn", "forkserver") if one in multiprocessing.get_all_start_methods()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router.db"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_children_that_return(path: Path, method: str) -> None:
    check(path, run(own_routers, path, method), recorded=6)


def test_children_that_use_their_parents_router_and_return(path: Path) -> None:
    check(path, run(parents_router, path), recorded=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("fork", "close"),
        ("fork", "terminate"),
        ("spawn", "close"),
        pytest.param("spawn", "terminate", marks=pytest.mark.reliability),
    ],
)
def test_workers_of_a_pool(path: Path, method: str, end: str) -> None:
    check(path, run(pool, path, method, end), recorded=18)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[:2])
def test_workers_of_an_executor(path: Path, method: str) -> None:
    check(path, run(executor, path, method), recorded=18)


def test_workers_that_a_server_forks_and_terminates(path: Path) -> None:
    check(path, run(prefork, path), recorded=9)


def test_a_program_that_falls_off_its_end(path: Path) -> None:
    check(path, run(falls_off_the_end, path), recorded=6)


def test_a_program_that_exits(path: Path) -> None:
    check(path, run(exits, path, code=3), recorded=3)


def test_a_program_that_raises(path: Path) -> None:
    check(path, run(raises, path, code=1, words="by the program's own fault"), recorded=3)


def test_a_thread_that_outlives_the_main_thread(path: Path) -> None:
    check(path, run(leaves_a_thread, path), recorded=3)


def test_a_router_that_is_dropped_is_closed_soon(path: Path) -> None:
    with running(dropped, path, "later") as process:
        said = []
        while not said or said[-1] != "dropped\n":
            said.append(process.stdout.readline())
            assert said[-1], process.stderr.read()
        told = Told.of(said)
        deadline = time.monotonic() + LIMIT_S
        while not path.exists() or not closed_files(path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.communicate("\n", timeout=LIMIT_S)
        assert process.returncode == 0
    check(path, told, recorded=3)


def test_a_program_that_ends_as_soon_as_it_has_dropped_a_router(path: Path) -> None:
    check(path, run(dropped, path, "at once"), recorded=3)


def closed_files(path: Path) -> bool:
    """Whether the last connection was closed: SQLite takes the write-ahead log with it."""
    return not path.with_name(path.name + "-wal").exists()


def hold_lock(path: str) -> None:
    """Another program holds the database's lock for as long as somebody listens."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        say("locked")
        sys.stdin.readline()
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("callers", [1, 40])
def test_a_store_that_another_process_keeps_locked_is_waited_for_once(path: Path, callers: int) -> None:
    """However many wait, each is told after its own time, and they pass together."""
    told: list[float] = []

    def call(router: Router, decision: Any) -> None:
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match="locked"):
            router.record(decision, Outcome(success=True))
        told.append(time.monotonic() - started)

    with open_router(path, store_timeout_seconds=0.4) as router:
        decisions = [router.route("x") for _ in range(callers)]
        router.flush()
        with running(hold_lock, path) as process:
            assert process.stdout.readline() == "locked\n"
            threads = [threading.Thread(target=call, args=(router, decision)) for decision in decisions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT_S)
            process.communicate("\n", timeout=LIMIT_S)
        assert len(told) == callers
        assert min(told) > 0.35
        assert max(told) < 1.5
        router.record(decisions[0], Outcome(success=True))
        assert router.status()["store"]["outcomes"] == 1


def test_a_store_that_is_deleted_acknowledges_nothing_and_closes(path: Path) -> None:
    router = open_router(path)
    decision = router.route("x")
    router.record(decision, Outcome(success=True))
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file():
            file.unlink()
    route_on = [router.route("requests are answered all the same") for _ in range(3)]
    assert all(one.agent in AGENTS for one in route_on)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="deleted"):
            router.record(decision, Outcome(quality=0.5))
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="deleted"):  # of the decisions that wait
        router.close()
    router.close()
    assert time.monotonic() - started < 20.0, "a store that is locked is waited for for 30 s"
    assert [one.name for one in threading.enumerate() if one.name.startswith("router-")] == []
    assert not path.exists()


def test_no_connection_is_opened_while_a_fork_closes_them(path: Path) -> None:
    """SQLite's locks do not survive a fork: what is open then is a store that loses what is written to it."""
    open_router(path).close()
    opened: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        opened.append(sqlite3.connect(path, check_same_thread=False))
        return opened[-1]

    class Handed:
        """A lock that whoever waits for it gets before its holder takes it again."""

        def __init__(self) -> None:
            self.lock = threading.RLock()
            self.acquire, self.release = self.lock.acquire, self.lock.release

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *fault: object) -> None:
            self.lock.release()
            if threading.current_thread() is threading.main_thread() and waiting.is_alive():
                waiting.join(0.2)

    reader = LogReader(connect)
    waiting = threading.Thread(target=reader.query, args=(lambda connection: None,))
    reader.query(lambda connection: None)
    reader.lock = Handed()
    with reader.lock.lock:
        waiting.start()
        reader.before_fork()
    try:
        assert len(opened) == 1
    finally:
        reader.after_fork_in_parent()
        waiting.join(LIMIT_S)
        for connection in opened:
            connection.close()


if __name__ == "__main__":
    programs_that_end.main(globals())
