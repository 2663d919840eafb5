import asyncio
import signal
import sqlite3
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from router_sdk import Agent, Task
from router_sdk.errors import InvalidOutcomeError, RouterClosedError, StoreBusyError, StoreUnavailableError
from router_sdk.records import AgentSet
from router_sdk.store.connection import ProcessLock
from router_sdk.store.rows import Entry

PATIENCE_S = 10.0


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def count(log, table):
    return log.query(f"SELECT count(*) FROM {table}")[0][0]


def wait_for_tickets(log, number):
    deadline = time.monotonic() + PATIENCE_S
    while len(log.writer._tickets) < number:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.mark.parametrize("other", ["flush", "transact"])
def test_who_records_while_something_else_is_done_needs_no_second_nudge(log, other):
    decision = log.decide()
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection, seq):
        begun.set()
        assert go_on.wait(PATIENCE_S)

    job = in_thread(lambda: log.writer.transact(slow))
    assert begun.wait(PATIENCE_S)
    recorder = in_thread(lambda: log.tell(decision, success=True))
    wait_for_tickets(log, 1)
    go_on.set()
    {"flush": log.writer.flush, "transact": lambda: log.writer.transact(lambda connection, seq: None)}[other]()
    for thread in (job, recorder):
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert count(log, "outcomes") == 1


def test_many_callers_share_commits_and_each_row_is_there_once(log):
    decisions = [log.decide() for _ in range(8)]

    def record(decision):
        for i in range(25):
            log.tell(decision, latency_ms=float(i))

    threads = [in_thread(lambda decision=decision: record(decision)) for decision in decisions]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert count(log, "outcomes") == 200
    seqs = [seq for (seq,) in log.query("SELECT seq FROM outcomes UNION ALL SELECT seq FROM decisions")]
    assert sorted(seqs) == list(range(1, 209))


def test_who_comes_while_another_process_has_the_store_shares_the_next_commit(open_log, monkeypatch):
    commits, waits, has_it, go_on = [], threading.Event(), threading.Event(), threading.Event()
    log, other = open_log(on_commit=commits.append), open_log()
    decisions = [log.decide() for _ in range(8)]
    commits.clear()

    def slow(connection, seq):
        has_it.set()
        assert go_on.wait(PATIENCE_S)

    threads = [in_thread(lambda: other.writer.transact(slow))]
    assert has_it.wait(PATIENCE_S)
    acquire = ProcessLock.acquire
    monkeypatch.setattr(ProcessLock, "acquire", lambda lock, deadline: (waits.set(), acquire(lock, deadline)))
    log.writer.offer(log.decision())
    assert waits.wait(PATIENCE_S)  # with a group of this decision and no outcome
    threads += [in_thread(lambda decision=decision: log.tell(decision, success=True)) for decision in decisions]
    wait_for_tickets(log, len(decisions))
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert commits == [len(decisions)]
    assert count(log, "outcomes") == count(log, "decisions") - 1 == len(decisions)


def test_a_bad_row_fails_alone(log):
    good, bad = log.decide(), log.decide()
    row = log.entry(bad, quality=0.5).outcome
    spoilt = Entry((*row[:5], 7.0, *row[6:]))  # past the records, into the database's own check
    errors = []

    def attempt(entries):
        try:
            log.writer.append(entries)
        except InvalidOutcomeError as error:
            errors.append(error)

    with log.held():
        threads = [
            in_thread(lambda: attempt([spoilt])),
            in_thread(lambda: attempt([log.entry(good, quality=0.5)])),
        ]
        wait_for_tickets(log, 2)
    log.writer.flush()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(errors) == 1
    assert log.query("SELECT decision_id FROM outcomes") == [(good.decision_id,)]


def test_after_a_refused_decision_others_over_the_same_agents_can_be_read(log):
    agents = AgentSet([Agent("new"), Agent("newer")])
    bad = log.decision(agents=agents)
    bad.vectors = {"encoder": "no array"}
    with pytest.raises(InvalidOutcomeError):
        log.decide(bad)
    good = log.decide(log.decision(agents=agents, agent="new"))
    found = log.store.reader.decision(good.decision_id)
    assert found is not None
    assert found.probabilities == {"new": 0.5, "newer": 0.5}


def test_a_queued_decision_that_is_refused_keeps_no_other_from_disk(log, caplog):
    bad, good = log.decision(), log.decision()
    bad.vectors = {"encoder": "no array"}
    with log.held():
        assert [log.writer.offer(one) for one in (bad, good)] == [True, True]
    log.writer.flush()
    assert log.query("SELECT decision_id FROM decisions") == [(good.decision_id,)]
    assert (log.writer.waiting, good.durable, bad.durable) == (0, True, False)
    assert f"refused decision {bad.decision_id}" in caplog.text


@pytest.mark.parametrize("written", [True, False])
def test_a_caller_that_is_interrupted_loses_nothing_that_was_queued(log, monkeypatch, caplog, written):
    """It commits itself, so that the interrupt comes before or after what waits is on disk."""
    insert = log.writer._committer.insert

    def interrupted(*group):
        monkeypatch.setattr(log.writer._committer, "insert", insert)
        if written:
            insert(*group)
        raise KeyboardInterrupt

    told, queued = log.decide(), [log.decision() for _ in range(3)]
    log.writer.flush()
    monkeypatch.setattr(log.writer, "_ring", lambda: None)  # the thread stays asleep
    assert all(log.writer.offer(one) for one in queued)
    monkeypatch.setattr(log.writer._committer, "insert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.tell(told, quality=0.5)
    assert log.writer.waiting == 3
    monkeypatch.undo()
    log.writer.flush()
    assert (count(log, "decisions"), count(log, "outcomes"), log.writer.waiting) == (4, int(written), 0)
    assert all(one.durable for one in queued)
    assert "refused" not in caplog.text


def test_a_large_group_fits_into_any_sqlite(log):
    """64 callers with 64 rows each: more values than a default build of SQLite binds in one statement."""
    log.writer._committer.writing._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    entries = [Entry(decision=log.decision()) for _ in range(64 * 64)]
    log.writer._committer.insert(entries, [], time.monotonic() + PATIENCE_S, lambda: None)
    assert count(log, "decisions") == 64 * 64


def test_a_decision_is_written_once_however_it_comes(log):
    decision = log.decision()
    assert log.writer.offer(decision)
    log.writer.append([log.entry(decision, carried=decision, success=True)])
    log.decide(decision)
    log.writer.flush()
    assert decision.durable
    assert (count(log, "decisions"), count(log, "outcomes")) == (1, 1)


def test_two_routers_in_one_process_may_both_write_one_decision(log, open_log, caplog):
    other = open_log()
    decision = log.decision()
    with log.held():
        log.writer.offer(decision)
        other.decide(decision)
    log.writer.flush()
    assert count(log, "decisions") == 1
    assert "refused" not in caplog.text


def test_a_delivery_with_an_id_is_stored_once(log, open_log):
    decision = log.decide()
    log.tell(decision, "mine", quality=0.1)
    log.tell(decision, "mine", quality=0.9)
    open_log().tell(decision, "mine", quality=0.8)
    twice = [log.entry(decision, "theirs", quality=0.2)] * 2
    log.writer.append(twice)
    assert log.query("SELECT outcome_id, quality FROM outcomes") == [("mine", 0.1), ("theirs", 0.2)]


def test_a_full_queue_refuses_and_takes_again_once_written(open_log):
    log = open_log(queue_size=2)
    with log.held():
        first = [log.decision() for _ in range(3)]
        assert [log.writer.offer(decision) for decision in first] == [True, True, False]
        assert log.writer.waiting == 2
    log.writer.flush()
    assert log.writer.offer(first[2])
    log.writer.flush()
    assert count(log, "decisions") == 3


def test_what_cannot_be_written_is_said_and_decisions_stay_queued(log, monkeypatch):
    decision = log.decision()
    log.writer.offer(decision)
    log.writer.flush()
    transact = log.writer._committer.transact

    def full(work, deadline):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(log.writer._committer, "transact", full)
    waiting = log.decision()
    log.writer.offer(waiting)
    with pytest.raises(StoreUnavailableError, match="disk is full"):
        log.tell(decision, success=True)
    with pytest.raises(StoreUnavailableError):
        log.writer.flush()
    monkeypatch.setattr(log.writer._committer, "transact", transact)
    log.writer.flush()
    assert (count(log, "decisions"), count(log, "outcomes")) == (2, 0)


class InterruptionError(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_a_caller_that_is_interrupted_disturbs_no_other(log, monkeypatch):
    decision = log.decide()

    def interrupt(*_):
        raise InterruptionError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with log.held():
            other = in_thread(lambda: log.tell(decision, success=True))
            wait_for_tickets(log, 1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(InterruptionError):
                log.tell(decision, quality=0.5)
            after = in_thread(lambda: log.tell(decision, latency_ms=1.0))
            wait_for_tickets(log, 3)
    finally:
        signal.signal(signal.SIGALRM, before)
    for thread in (other, after):
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    log.writer.flush()
    assert count(log, "outcomes") == 3  # the interrupted one was handed over: it is stored, and nobody was told so


def tell_for_ever(log, decision):
    while True:
        log.tell(decision, success=True)


def test_a_signal_handler_may_record_and_close_whatever_it_interrupted(log, open_log):
    decision = log.decide()
    done = []

    def handler(*_):
        log.tell(decision, quality=0.5)
        log.writer.close()
        done.append(True)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(RouterClosedError):
            tell_for_ever(log, decision)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert done == [True]
    assert count(open_log(), "outcomes") > 1


@pytest.mark.parametrize("callers", [1, 200])
def test_a_store_that_stays_locked_is_waited_for_once_however_many_wait(open_log, callers):
    """Each has a time of its own, and they pass together."""
    log = open_log(timeout_s=0.3)
    decision = log.decide()
    told = []

    def record():
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match="locked"):
            log.tell(decision, success=True)
        told.append(time.monotonic() - started)

    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [in_thread(record) for _ in range(callers)]
        for thread in threads:
            thread.join(PATIENCE_S)
        other.execute("ROLLBACK")
    assert len(told) == callers
    assert min(told) > 0.25
    assert max(told) < 1.5
    log.tell(decision, success=True)
    assert count(log, "outcomes") == 1


def test_a_lock_file_that_is_deleted_costs_no_outcome(log, open_log):
    """Two writers, each sure to be alone: order comes from the database, not from files beside it."""
    other, decisions = open_log(), [log.decide() for _ in range(20)]
    for number, decision in enumerate(decisions):
        log.path.with_name(log.path.name + "-lock").unlink(missing_ok=True)
        (log, other)[number % 2].tell(decision, success=True)
    seqs = [seq for (seq,) in log.query("SELECT seq FROM outcomes UNION ALL SELECT seq FROM decisions")]
    assert sorted(seqs) == list(range(1, 41))
    assert len(log.lessons()) == 20


def test_a_store_through_a_symbolic_link_is_the_same_store(log, open_log, tmp_path):
    link = tmp_path / "elsewhere.db"
    link.symlink_to(log.path)
    other = open_log(path=link)
    assert (other.store.path, other.store.folder) == (log.store.path, log.store.folder)
    for _ in range(5):
        other.tell(log.decide(), success=True)
        log.tell(other.decide(), success=True)
    assert len(log.lessons()) == 10


@pytest.mark.parametrize("what", ["deleted", "replaced", "moved", "log deleted"])
def test_nothing_is_acknowledged_into_a_file_that_is_out_of_reach(open_log, tmp_path, what):
    log = open_log()
    decision = log.decide()
    wal = log.path.with_name(log.path.name + "-wal")
    if what == "replaced":
        stranger = open_log(path=tmp_path / "stranger.db")
        stranger.close()
        (tmp_path / "stranger.db").replace(log.path)
    elif what == "moved":
        log.path.rename(tmp_path / "moved.db")
    elif what == "log deleted":
        wal.unlink()
    else:
        for path in (log.path, wal):
            path.unlink()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="deleted"):
            log.tell(decision, success=True)
    if what == "moved":
        (tmp_path / "moved.db").rename(log.path)
        log.tell(decision, success=True)


async def test_coroutines_are_woken_and_told_of_errors(log):
    decision = log.decide()
    row = log.entry(decision, quality=0.5).outcome
    good = [log.writer.aappend([log.entry(decision, latency_ms=1.0)]) for _ in range(70)]
    bad = log.writer.aappend([Entry((*row[:5], 7.0, *row[6:]))])
    told = await asyncio.wait_for(asyncio.gather(*good, bad, return_exceptions=True), PATIENCE_S)
    assert [result for result in told if result is not None] == [told[-1]]
    assert isinstance(told[-1], InvalidOutcomeError)
    assert count(log, "outcomes") == 70


async def test_a_cancelled_coroutine_disturbs_no_other(log):
    decision = log.decide()
    tasks = [asyncio.create_task(log.writer.aappend([log.entry(decision, latency_ms=1.0)])) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    told = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)
    assert isinstance(told[1], asyncio.CancelledError)
    assert told[0] is told[2] is None


def test_after_close_everything_is_on_disk_and_nothing_more_is_taken(log, open_log):
    decisions = [log.decision() for _ in range(100)]
    for decision in decisions:
        log.writer.offer(decision)
    log.writer.close()
    log.writer.close()
    with pytest.raises(RouterClosedError):
        log.writer.append([])
    with pytest.raises(RouterClosedError):
        log.writer.transact(lambda connection, seq: None)
    assert count(open_log(), "decisions") == 100


def test_a_vector_is_kept_as_it_was(log):
    decision = log.decision(task=Task("x"))
    decision.vectors = {"bert:int8": np.array([[1, -2], [3, 4]], dtype=np.int8)[:, 0], "words:fp32": np.float32([0.5])}
    log.decide(decision)
    log.tell(decision, success=True)
    (example,) = log.tail.read(0, log.tail.head(), 10).examples
    assert {tag: (vector.dtype, vector.tolist()) for tag, vector in example.vectors.items()} == {
        "bert:int8": (np.int8, [1, 3]),
        "words:fp32": (np.float32, [0.5]),
    }
