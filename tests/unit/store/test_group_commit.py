import asyncio
import sqlite3
import threading
import time

import numpy as np
import pytest

from router_sdk import Agent, Task
from router_sdk.errors import InvalidOutcomeError, RouterClosedError, StoreUnavailableError
from router_sdk.records import AgentSet
from router_sdk.store.ticket import Entry

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


class Watched:
    """The commit lock, telling when somebody was turned away; ``hold`` runs with the lock held."""

    def __init__(self, lock):
        self.lock, self.hold = lock, None
        self.refused = threading.Event()

    def acquire(self, blocking=True):
        got = self.lock.acquire(blocking)
        if not got:
            self.refused.set()
        return got

    def release(self):
        self.lock.release()

    def __enter__(self):
        self.lock.acquire()
        if self.hold:
            self.hold()

    def __exit__(self, *fault):
        self.lock.release()


@pytest.mark.parametrize("other", ["flush", "transact", "exclusive"])
def test_nobody_sleeps_on_when_the_lock_was_held_by_something_else(log, other):
    """A caller that finds the lock taken is woken once it is free, whoever held it."""
    decision = log.decide()
    lock = log.writer._commit_lock = Watched(log.writer._commit_lock)
    recorders = []

    def hold():
        lock.hold = None
        recorders.append(in_thread(lambda: log.tell(decision, success=True)))
        assert lock.refused.wait(PATIENCE_S)

    lock.hold = hold
    {
        "flush": log.writer.flush,
        "transact": lambda: log.writer.transact(lambda connection, seq: None),
        "exclusive": lambda: log.writer.exclusive(lambda connection: None),
    }[other]()
    recorders[0].join(2.0)
    asleep = recorders[0].is_alive()
    log.writer.flush()  # lets the sleeper go
    assert not asleep


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


def test_a_bad_row_fails_alone(log):
    good, bad = log.decide(), log.decide()
    row = log.entry(bad, quality=0.5).outcome
    spoilt = Entry((*row[:5], 7.0, *row[6:]))  # past the records, into the database's own check
    log.writer._commit_lock.acquire()
    errors = []

    def attempt(entries):
        try:
            log.writer.append(entries)
        except InvalidOutcomeError as error:
            errors.append(error)

    threads = [
        in_thread(lambda: attempt([spoilt])),
        in_thread(lambda: attempt([log.entry(good, quality=0.5)])),
    ]
    wait_for_tickets(log, 2)
    log.writer._commit_lock.release()
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


def test_a_large_group_fits_into_any_sqlite(log):
    """64 callers with 64 rows each: more values than a default build of SQLite binds in one statement."""
    log.writer._committer._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    entries = [Entry(decision=log.decision()) for _ in range(64 * 64)]
    log.writer._committer.insert(entries, [])
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
    log.writer._commit_lock.acquire()
    log.writer.offer(decision)
    other.decide(decision)
    log.writer._commit_lock.release()
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
    log.writer._commit_lock.acquire()
    first = [log.decision() for _ in range(3)]
    assert [log.writer.offer(decision) for decision in first] == [True, True, False]
    assert log.writer.waiting == 2
    log.writer._commit_lock.release()
    log.writer.flush()
    assert log.writer.offer(first[2])
    log.writer.flush()
    assert count(log, "decisions") == 3


def test_what_cannot_be_written_is_said_and_decisions_stay_queued(log, monkeypatch):
    decision = log.decision()
    log.writer.offer(decision)
    log.writer.flush()
    transact = log.writer._committer.transact

    def full(work):
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


def test_an_interrupted_leader_leaves_nobody_waiting(log, monkeypatch):
    decision = log.decide()
    insert = log.writer._committer.insert
    calls = []

    def interrupted(entries, decisions):
        calls.append(len(entries))
        if len(calls) == 1:
            raise KeyboardInterrupt
        insert(entries, decisions)

    monkeypatch.setattr(log.writer._committer, "insert", interrupted)
    lock = log.writer._commit_lock = Watched(log.writer._commit_lock)
    lock.lock.acquire()
    ended = []

    def record():
        try:
            log.tell(decision, success=True)
        except StoreUnavailableError:
            ended.append("told")
        except KeyboardInterrupt:
            ended.append("interrupted")
        else:
            ended.append("stored")

    threads = [in_thread(record) for _ in range(2)]
    wait_for_tickets(log, 2)
    lock.lock.release()
    log.writer._wake_leader()
    for thread in threads:
        thread.join(3.0)
    assert "interrupted" in ended
    assert len(ended) == 2, "the other caller of the interrupted group never hears of it"


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
