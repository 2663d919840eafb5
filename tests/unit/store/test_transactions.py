"""What a transaction knows of others' commits and leaves behind when it fails; and opening a store to look."""

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from router_sdk import Agent, Outcome, Task
from router_sdk.errors import (
    NotAStoreError,
    RouterClosedError,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
)
from router_sdk.store import connection as connections
from router_sdk.store import sqlite
from router_sdk.store.agents import add_agents
from router_sdk.store.connection import DatabaseFile, ProcessLock, open_looker, open_reader
from router_sdk.store.log_connection import LogConnection
from router_sdk.store.rows import Entry
from router_sdk.store.schema import SCHEMA_VERSION
from router_sdk.store.transaction import NEWEST


def soon(seconds=10.0):
    return time.monotonic() + seconds


def beside(log, name):
    return log.path.with_name(log.path.name + name)


def position(log):
    return log.writer.transact(lambda connection, seq: seq)


@contextmanager
def free(log):
    """While the lock between processes is ours, which it can be at once."""
    lock = ProcessLock(beside(log, "-lock"))
    lock.acquire(0.0)
    yield
    lock.close()


@contextmanager
def statements(log):
    """What is told to the writer's connection meanwhile."""
    connection, said = log.writer._committer.writing._connection, []
    connection.set_trace_callback(said.append)
    yield said
    connection.set_trace_callback(None)


def test_the_next_position_is_behind_everything_that_has_one(log, open_log):
    other = open_log()
    assert position(log) == 1
    log.tell(log.decide(), quality=0.5)
    assert [position(log), position(other), position(log)] == [3, 3, 3]
    add_agents(other.writer, [Agent("a")])
    assert position(log) == 4
    session = other.decide(task=Task("x", session_id="s1"))
    log.forget("s1")
    assert position(other) == 6
    other.writer.transact(lambda connection, seq: connection.execute("INSERT INTO positions VALUES ('x', 50)") and None)
    assert position(log) == 51
    log.tell(session, quality=0.5)
    other.decide()
    log.decide()
    assert log.query("SELECT seq FROM outcomes ORDER BY seq") == [(2,), (51,)]
    assert log.query("SELECT seq FROM decisions ORDER BY seq") == [(1,), (4,), (52,), (53,)]


def test_positions_are_read_only_where_somebody_else_could_have_used_one(log, open_log):
    other = open_log()
    log.decide()
    with statements(log) as said:
        log.decide()
        log.tell(log.decide(), quality=0.5)
        assert said.count(NEWEST) == 0
        position(log)  # who says nothing of what it used, may have used any number
        assert said.count(NEWEST) == 0
        log.decide()
        assert said.count(NEWEST) == 1
        other.decide()
        log.decide()
        assert said.count(NEWEST) == 2
        log.decide()
        assert said.count(NEWEST) == 2
    seqs = log.query("SELECT seq FROM decisions UNION SELECT seq FROM outcomes ORDER BY 1")
    assert seqs == [(seq,) for seq in range(1, 9)]


def test_of_a_transaction_that_fails_nothing_is_there_and_nothing_is_believed(log):
    log.decide()
    committer = log.writer._committer

    def fails(connection, seq):
        connection.execute("INSERT INTO positions VALUES ('x', 70)")
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        committer.transact(fails, soon())
    assert not committer.writing._connection.in_transaction
    with free(log):
        pass
    with statements(log) as said:
        log.decide()
    assert said.count(NEWEST) == 1
    assert any("agent_sets" in statement for statement in said)
    assert log.query("SELECT seq FROM decisions ORDER BY seq") == [(1,), (2,)]
    with statements(log) as said:
        log.decide()
    assert not any("agent_sets" in statement for statement in said)


def test_what_a_transaction_returns_is_returned(log):
    assert log.writer._committer.transact(lambda connection, seq: (seq, "x"), soon()) == (1, "x")


def test_a_lock_file_that_was_deleted_is_made_again(log):
    lock = beside(log, "-lock")
    log.decide()
    lock.unlink()
    log.decide()
    log.decide()
    assert os.fstat(log.writer._committer.writing._lock._descriptor).st_ino == lock.stat().st_ino


def test_who_else_locks_the_database_is_waited_for_until_a_moment(log):
    committer = log.writer._committer
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="another program keeps the store's database locked"):
            committer.transact(lambda connection, seq: None, soon(-1.0))
        other.execute("ROLLBACK")
    assert committer.transact(lambda connection, seq: seq, soon(-1.0)) == 1


class Locked:
    """A connection that answers with these of SQLite's codes before it does as it is told."""

    def __init__(self, *codes, close=None):
        self.codes, self.close = list(codes), close

    def execute(self, statement):
        if self.codes:
            error = sqlite3.OperationalError("told")
            error.sqlite_errorcode = self.codes.pop(0)
            raise error


BUSY = sqlite3.SQLITE_BUSY


@pytest.mark.parametrize(
    ("codes", "deadline", "left", "fault"),
    [
        ([], 0.0, 0, None),
        ([BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT], 2.5, 0, None),
        ([BUSY] * 3, 2.0, 1, StoreBusyError),
        ([BUSY] * 3, 1.5, 1, StoreBusyError),
        ([BUSY] * 3, 1.0, 2, StoreBusyError),
        ([sqlite3.SQLITE_LOCKED], 9.0, 0, sqlite3.OperationalError),
        ([sqlite3.SQLITE_ERROR], 9.0, 0, sqlite3.OperationalError),
    ],
)
def test_a_busy_database_is_asked_again(log, monkeypatch, codes, deadline, left, fault):
    moments = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(sqlite, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    locked = Locked(*codes)
    if fault is None:
        log.writer._committer.writing._begin(locked, deadline)
    else:
        with pytest.raises(fault):
            log.writer._committer.writing._begin(locked, deadline)
    assert len(locked.codes) == left


def test_the_log_is_emptied_unless_somebody_reads_it(log):
    committer, wal = log.writer._committer, beside(log, "-wal")
    log.decide()
    with closing(open_reader(log.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM decisions").fetchall()
        log.decide()
        assert committer.writing.scrub(soon()) is False
        assert wal.stat().st_size > 0
        reader.execute("COMMIT")
    assert committer.writing.scrub(soon()) is True
    assert wal.stat().st_size == 0
    assert committer.writing._connection.execute("PRAGMA busy_timeout").fetchone() == (50,)
    with free(log), pytest.raises(StoreBusyError):
        committer.writing.scrub(0.0)


def test_after_closing_nothing_is_opened_again(log):
    committer = log.writer._committer
    log.writer.close()
    committer.writing.close()
    with pytest.raises(RouterClosedError):
        committer.transact(lambda connection, seq: None, soon())
    with pytest.raises(RouterClosedError):
        committer.writing.scrub(soon())
    assert committer.writing._connection is None


def test_a_connection_is_opened_again_after_a_fork(log):
    committer = log.writer._committer
    log.decide()
    committer.disconnect()
    committer.disconnect()
    assert (committer.writing._connection, committer._head, committer.writing._file._wal_identity) == (None, -1, None)
    committer.writing.after_fork()
    assert committer.writing._lock._descriptor == -1
    log.decide()
    assert committer.writing._file._wal_identity is not None
    assert log.query("SELECT seq FROM decisions ORDER BY seq") == [(1,), (2,)]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 513])
def test_rows_come_256_to_a_statement(count):
    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=LogConnection)) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        said = []
        connection.set_trace_callback(said.append)
        connection.insert_rows("t", "a, b", [(i, -i) for i in range(count)])
        assert len(said) == -(-count // 256)
        assert connection.execute("SELECT a, b FROM t ORDER BY a").fetchall() == [(i, -i) for i in range(count)]


def test_a_group_is_written_without_what_is_there_and_without_gaps(log):
    known, carried, queued = (log.decision(task=Task(task_type="bare")) for _ in range(3))
    log.decide(known)
    log.tell(known, "there", quality=0.1)
    known.durable = False
    queued.vectors, carried.vectors = {"e": np.float32([1.0])}, {"e": np.float32([2.0])}
    entries = [
        log.entry(known, "there", known, quality=0.2),
        Entry(decision=carried),
        log.entry(known, "new", known, quality=0.3, response="r"),
        log.entry(carried, "new", carried, quality=0.4),
        log.entry(carried, None, carried, quality=0.5),
        log.entry(carried, None, quality=0.6, error="e"),
    ]
    log.writer._committer.insert(entries, [queued, queued], soon(), lambda: None)
    decided = [(1, known.decision_id), (3, queued.decision_id), (4, carried.decision_id)]
    assert log.query("SELECT seq, decision_id FROM decisions ORDER BY seq") == decided
    told = [(2, "there", 0.1), (5, "new", 0.3), (6, None, 0.5), (7, None, 0.6)]
    assert log.query("SELECT seq, outcome_id, quality FROM outcomes ORDER BY seq") == told
    assert log.query("SELECT seq, response, error FROM payloads ORDER BY seq") == [(5, "r", None), (7, None, "e")]
    assert log.query("SELECT seq FROM vectors ORDER BY seq") == [(3,), (4,)]
    with statements(log) as said:
        log.decide()
    assert log.query("SELECT max(seq) FROM decisions") == [(8,)]
    assert said.count(NEWEST) == 0


def test_a_decision_that_is_written_beside_its_outcome_is_not_looked_for(log):
    queued, unqueued = [log.decision() for _ in range(3)], log.decision()
    entries = [log.entry(decision, None, decision, quality=0.5) for decision in (*queued, unqueued)]
    with statements(log) as said:
        log.writer._committer.insert(entries, queued, soon(), lambda: None)
    looked = [text for text in said if text.startswith("SELECT decision_id FROM decisions WHERE decision_id IN")]
    assert [[decision.decision_id in text for decision in (*queued, unqueued)] for text in looked] == [
        [False, False, False, True]
    ]
    written = [(decision.decision_id,) for decision in (*queued, unqueued)]
    assert log.query("SELECT decision_id FROM decisions ORDER BY seq") == written


def test_an_outcome_is_not_taken_for_a_false_claim_that_came_before_its_decision(log):
    decision = log.decision(task=Task("x", tenant="acme"))
    claim = log.store.entry(
        decision.decision_id,
        Outcome(success=False),
        Outcome(success=False).signals(),
        outcome_id="mail-1",
        tenant="globex",
    )
    log.writer.append([claim])
    log.writer.append([log.entry(decision, "mail-1", decision, success=True)])
    assert log.query("SELECT outcome_id, success FROM outcomes") == [("mail-1", 1)]


# -- looking


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_looking_changes_nothing(log, open_log):
    log.decide()
    log.close()
    before = contents(log.path.parent)
    with closing(open_looker(log.path)) as looker:
        assert looker.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
        found = [looker.execute(f"PRAGMA {name}").fetchone()[0] for name in ("query_only", "busy_timeout")]
        assert found == [1, 30_000]
    assert contents(log.path.parent) == before
    open_log().decide()  # while somebody writes
    with closing(open_looker(log.path)) as looker:
        assert looker.execute("SELECT count(*) FROM decisions").fetchone() == (2,)


@pytest.mark.parametrize(("more", "fault"), [(-1, StoreUnavailableError), (0, None), (1, SchemaVersionError)])
def test_only_a_store_of_this_release_is_looked_at(log, more, fault):
    log.close()
    with closing(sqlite3.connect(log.path)) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + more}")
    if fault is None:
        open_looker(log.path).close()
    else:
        with pytest.raises(fault) as raised:
            open_looker(log.path)
        assert raised.type is fault


def test_what_is_empty_or_not_there_is_not_looked_at(store_path):
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        open_looker(store_path)
    store_path.touch()
    with pytest.raises(NotAStoreError, match="another program"):
        open_looker(store_path)
    assert list(store_path.parent.iterdir()) == [store_path]


@pytest.mark.parametrize(
    ("code", "opened"),
    [
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_READONLY, True),
        (sqlite3.SQLITE_READONLY_DIRECTORY, True),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_IOERR, False),
    ],
)
@pytest.mark.parametrize("living", [True, False])
def test_a_medium_without_room_for_side_files_is_read_all_the_same(log, monkeypatch, code, opened, living):
    log.decide()
    log.writer.scrub()
    if not living:
        log.close()
    connect, told, usual = connections._connect, [], "ro" if living else "rw"

    def full(path, mode, timeout_s):
        told.append((mode, timeout_s))
        if (mode, timeout_s) != (usual, 30.0):
            return connect(path, mode, timeout_s)
        return Locked(code, close=lambda: told.append("closed"))

    monkeypatch.setattr(connections, "_connect", full)
    if opened:
        with closing(open_looker(log.path)) as looker:
            assert looker.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
        assert told == [("ro&immutable=1", 0.0), (usual, 30.0), "closed", ("ro&immutable=1", 30.0)]
    else:
        with pytest.raises(StoreUnavailableError, match=r"cannot open .* as a store: told"):
            open_looker(log.path)


def test_a_file_that_cannot_be_read_just_now_is_looked_at_again_when_it_is_opened(store_path, monkeypatch):
    store_path.touch()
    told = []
    monkeypatch.setattr(connections, "_connect", lambda *how: Locked(BUSY, close=lambda: told.append(how[1:])))
    DatabaseFile(store_path).look()
    assert told == [("ro&immutable=1", 0.0)]
