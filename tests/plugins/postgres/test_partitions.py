"""A log in partitions: they are made in time, old ones go whole, and nothing else of the log is another one for it."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

pytest.importorskip("psycopg")

import psycopg
from router_sdk_postgres import cutting, partitions

from router_sdk import Outcome, Router, Task
from router_sdk.errors import InvalidConfigError
from router_sdk.store.coordination import note_consumers, pending_intents
from router_sdk.store.retention import begin_archive, go_on_archiving
from router_sdk.store.rows import DECISION_COLUMNS, Entry, decision_row
from router_sdk.store.stretches import StillReadError
from router_sdk.testing import StoreTrial

pytestmark = pytest.mark.services

FEWEST = 8
TABLES = {"decisions": "seq", "outcomes": "seq", "payloads": "seq", "vectors": "seq, encoder"}


@pytest.fixture
def url(store_url, monkeypatch):
    """A log whose partitions are short."""
    for room in (cutting, partitions):
        monkeypatch.setattr(room, "FEWEST", FEWEST)
    monkeypatch.setattr(partitions, "_STEEPEST", 1)
    return f"{store_url}&partition_days=1"


@pytest.fixture
def trial(url, tmp_path):
    with StoreTrial(url, tmp_path) as made:
        yield made


def extend(trial):
    trial.store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))


def cuts(trial):
    return trial.ask(lambda connection: connection.stretches().cuts())


def archive(trial, before, upto, *rest_before):
    number = begin_archive(trial.store.writer, before, upto, *rest_before)
    (intent,) = (one for one in trial.ask(pending_intents) if one.number == number)
    return go_on_archiving(trial.store.writer, trial.store.engine, intent)


def ask(store, query):
    return store.reader.query(lambda connection: connection.execute(query).fetchall())


def lines(file):
    with gzip.open(file, "rt") as found:
        return sorted(found)


def dump(trial):
    return {name: trial.rows(f"SELECT * FROM {name} ORDER BY {key}") for name, key in TABLES.items()}


def test_there_is_a_partition_ahead_and_where_nobody_looked_it_is_made_later(trial):
    assert cuts(trial) == [FEWEST - 1]
    decisions = []
    for number in range(3 * FEWEST):
        decisions.append(trial.decide())
        extend(trial)
        assert cuts(trial)[-1] > number
    before = cuts(trial)
    assert len(before) > 3
    decisions += [trial.decide() for _ in range(5 * FEWEST)]
    extend(trial)
    assert cuts(trial)[: len(before)] == before
    assert cuts(trial)[-1] > len(decisions)
    assert [found for (found,) in trial.rows("SELECT decision_id FROM decisions ORDER BY seq")] == [
        one.decision_id for one in decisions
    ]
    trial.tell(decisions[0], quality=0.5)
    tail = trial.tail()
    assert [one.decision_id for one in tail.read(0, tail.head(), 1_000).examples] == [decisions[0].decision_id]
    tail.close()


def test_an_id_is_one_decisions_in_all_partitions(trial):
    first = trial.decide()
    for _ in range(2 * FEWEST):
        trial.decide()
        extend(trial)
    first.durable = False
    trial.store.writer.append([Entry(decision=first)])  # who looks finds it

    def again(connection, seq):  # and who does not is refused
        connection.insert_rows("decisions", DECISION_COLUMNS, [decision_row(seq, first)])

    with pytest.raises(psycopg.errors.UniqueViolation, match="a decision of that id is in the log"):
        trial.store.writer.transact(again)
    assert trial.rows("SELECT count(*) FROM decisions WHERE decision_id = ?", first.decision_id) == [(1,)]


@pytest.mark.parametrize("seed", range(2))
def test_what_stays_and_what_is_archived_is_what_a_file_would_keep(trial, tmp_path, seed):
    chance, now = random.Random(seed), time.time()
    with StoreTrial(str(tmp_path / "other.db"), tmp_path) as other:
        decided = []
        for number in range(60):
            if chance.random() < 0.5 or not decided:
                at = now - 1_000.0 if number < 40 or chance.random() < 0.2 else now
                decided.append(trial.decision(Task(f"text {number}", session_id=f"s{number % 3}"), at=at))
                entry = None
            else:
                recent = decided[-4:] if chance.random() < 0.9 else decided
                told = chance.choice(recent) if chance.random() < 0.9 else f"{number:032x}"
                entry = trial.entry(told, quality=chance.random(), response="said")
            for one in (trial, other):
                decided[-1].durable = False
                one.store.writer.append([entry or Entry(decision=decided[-1])])
            if number % 5 == 0:
                extend(trial)
        assert dump(trial) == dump(other)
        before = cuts(trial)
        some, first = archive(trial, now - 500.0, 35, 0.0)  # what goes in whole partitions alone
        assert trial.rows("SELECT count(*) FROM decisions") == [(len(decided) - some,)]
        assert cuts(trial)[0] == max(cut for cut in before if cut <= 35)
        more, second = archive(trial, now - 500.0, 60)
        moved, file = archive(other, now - 500.0, 60)
        assert (some > 0, more > 0, some + more) == (True, True, moved)
        assert sorted(lines(first) + lines(second)) == lines(file)
        assert dump(trial) == dump(other)


def filled(trial, count=3 * FEWEST, at=0.0, said="said"):
    """Old decisions, each with its outcome."""
    decisions = []
    for _ in range(count):
        decisions.append(trial.decide(at=at))
        trial.tell(decisions[-1], quality=0.5, response=said)
        extend(trial)
    return decisions


def test_what_is_said_between_reading_and_dropping_is_kept_with_its_decision(trial):
    decisions, stays = filled(trial), []

    def rest():
        if not stays:
            stays.append(decisions[3])
            trial.tell(decisions[3], quality=0.75)
        return True

    number = begin_archive(trial.store.writer, 1.0, trial.tail().head())
    (intent,) = trial.ask(pending_intents)
    whole = intent.body["whole"]
    assert (number, whole > 4 * FEWEST) == (intent.number, True)
    go_on_archiving(trial.store.writer, trial.store.engine, intent, rest)
    assert trial.rows("SELECT decision_id FROM decisions WHERE seq <= ?", whole) == [(stays[0].decision_id,)]
    assert trial.rows("SELECT quality FROM outcomes ORDER BY seq") == [(0.5,), (0.75,)]
    assert len(trial.rows("SELECT seq FROM payloads")) == 2


def test_disk_space_comes_back_at_once(trial, database):
    filled(trial, said="a long answer, which does not compress: " + os.urandom(3_000).hex())
    extend(trial)
    files = """SELECT sum(pg_total_relation_size(oid)) FROM pg_class
               WHERE relkind = 'r' AND relnamespace = 'router'::regnamespace"""
    with psycopg.connect(database, autocommit=True) as server:
        before, size = server.execute(files).fetchone()[0], trial.ask(lambda connection: connection.size())
        moved, _ = archive(trial, 1.0, trial.tail().head())
        assert moved == 3 * FEWEST
        assert trial.rows("SELECT count(*) FROM payloads") == [(0,)]
        assert before - server.execute(files).fetchone()[0] > 60_000
    assert size - trial.ask(lambda connection: connection.size()) > 60_000


def test_a_reader_keeps_a_partition_and_nobody_else_waits_for_it(trial):
    decisions = filled(trial)
    with closing(trial.store.engine.reader()) as reader:
        reader.steady()
        (count,) = reader.execute("SELECT count(*) FROM decisions").fetchone()
        began = time.monotonic()
        with pytest.raises(StillReadError) as kept:
            archive(trial, 1.0, trial.tail().head())
        assert kept.value.moved[0] == count
        trial.tell(decisions[-1], quality=0.75)
        assert reader.execute("SELECT count(*) FROM decisions").fetchone() == (count,)
        assert time.monotonic() - began < 20.0
    (intent,) = trial.ask(pending_intents)
    moved, file = go_on_archiving(trial.store.writer, trial.store.engine, intent)
    assert (moved, trial.ask(pending_intents)) == (count, [])
    assert len([one for one in map(json.loads, lines(file)) if one["table"] == "decisions"]) == count


def test_what_a_reader_keeps_is_not_archived_again(trial, url):
    filled(trial, at=1.0)
    with (
        closing(trial.store.engine.reader()) as reader,
        Router(["a", "b"], ["heuristic"], url, seed=1, retrain=False) as router,
    ):
        reader.steady()
        reader.execute("SELECT count(*) FROM decisions").fetchone()
        first, again = (router.archive(2.0) for _ in range(2))
        assert first == again > 0
        assert len(trial.ask(pending_intents)) == 1


def test_views_and_publications_that_would_read_one_partition_alone_are_named(store_url, database, tmp_path):
    with StoreTrial(store_url, tmp_path) as trial:
        trial.decide()
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("CREATE VIEW public.told AS SELECT * FROM router.outcomes")
        with pytest.raises(InvalidConfigError, match="told would read the first partition alone"):
            StoreTrial(f"{store_url}&partition_days=7", tmp_path).__enter__()
        server.execute("DROP VIEW public.told; CREATE PUBLICATION heard FOR TABLE router.outcomes")
        with pytest.raises(InvalidConfigError, match=r"heard would read the first .*drop these publications"):
            StoreTrial(f"{store_url}&partition_days=7", tmp_path).__enter__()
        server.execute("DROP PUBLICATION heard")
    with StoreTrial(f"{store_url}&partition_days=7", tmp_path) as trial:
        assert trial.rows("SELECT count(*) FROM decisions") == [(1,)]


CUT_OFF = """
import os, signal, sys
import router_sdk.store.retention as retention
from router_sdk import Router

def cut(*given):
    os.kill(os.getpid(), signal.SIGKILL)

retention.drop_whole = cut
Router(store=sys.argv[1], strategies=["heuristic"]).archive(1.0)
"""


def test_whoever_starts_next_drops_what_a_killed_process_was_about_to(trial, url):
    filled(trial)
    trial.tell(trial.decide(), quality=0.5)
    done = subprocess.run([sys.executable, "-c", CUT_OFF, url], timeout=120)
    assert done.returncode == -signal.SIGKILL
    (intent,) = trial.ask(pending_intents)
    assert (intent.body["count"], trial.rows("SELECT count(*) FROM decisions")[0][0] > FEWEST) == (3 * FEWEST, True)
    with Router(store=url, strategies=["heuristic"]):
        deadline = time.monotonic() + 60.0
        while trial.ask(pending_intents) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
    assert trial.rows("SELECT count(*) FROM decisions") == [(1,)]
    assert cuts(trial)[0] == intent.body["whole"]


RECORDS = """
import sys
from router_sdk import Outcome, Router, Task
with Router(["a", "b"], ["heuristic"], sys.argv[1], seed=2) as router:
    print("ready", flush=True)
    for number in range(100):
        router.record(router.route(Task(f"text {number}")), Outcome(success=True))
"""


def test_others_record_while_partitions_go_and_a_slow_consumer_holds_them_back(url):
    command = [sys.executable, "-W", "error", "-c", RECORDS, url]
    with Router(["a", "b"], ["heuristic"], url, seed=1) as router:
        store = router._parts.store
        for number in range(40):
            router.record(router.route(Task(f"text {number}")), Outcome(success=True))
            store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))
        store.writer.transact(lambda connection, seq: note_consumers(connection, "slow", {"s": 3}))
        assert router.archive(time.time() + 60.0) <= 1
        store.writer.transact(lambda connection, seq: note_consumers(connection, "slow", {"s": 10**6}))
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            archived = 0
            while other.poll() is None:
                archived += router.archive(time.time() + 60.0)
                store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))
        assert (other.returncode, archived > 40) == (0, True)
        counted = store.reader.counts()
        files = [lines(file) for file in (store.folder / "archive").iterdir()]
        rows = [json.loads(line) for file in files for line in file]
        for table in ("decisions", "outcomes"):
            seqs = {row["seq"] for row in rows if row["table"] == table}
            left = {
                seq
                for (seq,) in store.reader.query(lambda one, t=table: one.execute(f"SELECT seq FROM {t}").fetchall())
            }
            assert len(seqs | left) == 140
            assert len(left) == counted[table]


def test_what_was_said_is_forgotten_in_all_partitions_and_in_the_archive(url):
    with Router(["a", "b"], ["heuristic"], url, seed=1) as router:
        store = router._parts.store

        def say(count):
            for number in range(count):
                decision = router.route(Task(f"secret {number}", session_id=f"s{number % 2}"))
                router.record(decision, Outcome(success=True, response="secret answer"))
                store.writer.transact(lambda connection, seq: connection.stretches().extend(seq))

        say(20)
        assert router.archive(time.time()) > 0
        say(20)
        assert router.forget("s0") > 10
        texts = store.reader.query(
            lambda one: one.execute("SELECT session_id, text, response FROM payloads").fetchall()
        )
        kept = {session for session, *_ in texts if session is not None}
        assert kept <= {"s1"}
        assert len([row for row in texts if row[1:] == (None, None)]) >= 20
        (file,) = (store.folder / "archive").iterdir()
        told = [json.loads(line) for line in lines(file)]
        assert {row["session_id"] for row in told if row["table"] == "payloads"} <= {"s1", None}
        forgotten = {row["decision_id"] for row in told if row["table"] == "decisions"}
        assert forgotten


def test_older_tables_become_the_first_partitions_as_they_are(store_url, database, tmp_path):
    with StoreTrial(f"{store_url}&row_security=on", tmp_path) as trial:
        decisions = [trial.decide(Task(f"text {number}", tenant="acme")) for number in range(5)]
        for decision in decisions:
            trial.tell(decision, f"once {decision.decision_id}", quality=0.5, response="said")
        before = dump(trial)
    with psycopg.connect(database, autocommit=True) as server:
        reader = server.info.dbname
        server.execute(f"CREATE ROLE {reader}; GRANT USAGE ON SCHEMA router TO {reader}")
        server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA router TO {reader}")
        server.execute(f"GRANT UPDATE (tenant) ON router.outcomes TO {reader} WITH GRANT OPTION")
        server.execute("DROP TABLE router.access_keys; UPDATE router.release SET version = 1")
        try:
            with StoreTrial(f"{store_url}&partition_days=7", tmp_path) as trial:
                assert dump(trial) == before
                trial.tell(decisions[0], f"once {decisions[0].decision_id}", quality=0.25)
                assert trial.rows("SELECT count(*) FROM outcomes") == [(5,)]
                trial.tell(trial.decide(), quality=0.75)
                assert trial.rows("SELECT count(*) FROM access_keys") == [(0,)]
            with StoreTrial(store_url, tmp_path) as trial:  # it stays so
                assert len(cuts(trial)) == 1
            may = "SELECT has_column_privilege(%s, 'router.outcomes', %s, 'UPDATE WITH GRANT OPTION')"
            columns = ("tenant", "quality")
            assert [server.execute(may, (reader, column)).fetchone() for column in columns] == [(True,), (False,)]
            server.execute(f"SET search_path = router; SET ROLE {reader}; SET router.tenant = 'acme'")
            assert server.execute("SELECT count(*) FROM decisions").fetchone() == (5,)
            assert server.execute("SELECT count(*) FROM payloads").fetchone() == (10,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                server.execute("INSERT INTO decisions SELECT * FROM decisions")
            assert server.execute("SELECT count(*) FROM decisions_0").fetchone() == (0,), "past the policies"
            made = [name for (name,) in server.execute("SELECT relname FROM pg_class WHERE relispartition")]
            assert len([name for name in made if name.startswith("decisions_") and name[10:].isdigit()]) == 2
        finally:
            server.execute(f"RESET ROLE; DROP OWNED BY {reader}; DROP ROLE {reader}")


def test_retention_drops_whole_partitions_and_leaves_the_edge_for_as_long_as_one_lasts(trial, url):
    day, now = 86_400.0, time.time()
    for days in (5.0, 2.5, 1.0):
        for _ in range(FEWEST):
            trial.decide(at=now - days * day)
            extend(trial)
    for days, left in ((6.0, [5.0, 2.5, 1.0]), (2.25, [2.5, 1.0]), (1.2, [1.0])):
        ages, deadline = [], time.monotonic() + 30.0
        with Router(["a", "b"], ["heuristic"], url, seed=1, retention_days=days) as router:
            while ages != left and time.monotonic() < deadline:  # its own learner may be reading, which puts it off
                router._parts.upkeep._retain()
                found = {round((now - at) / day, 1) for (at,) in trial.rows("SELECT at FROM decisions")}
                ages = sorted(found, reverse=True)
        assert ages == left
