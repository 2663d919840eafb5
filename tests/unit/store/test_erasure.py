"""What ``forget`` takes out of the tables, what it leaves, and which decisions of pre-trainings it knows."""

from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from router_sdk import Task
from router_sdk.errors import StoreUnavailableError
from router_sdk.store import erasure as module
from router_sdk.store import pretraining
from router_sdk.store.connection import open_reader
from router_sdk.store.coordination import add_intent, pending_intents
from router_sdk.store.erasure import Erasure, add_to_erasure, empty_write_ahead_log, erase_session
from router_sdk.store.events import write_dead_letters
from router_sdk.store.pretraining import copy_pretraining

CELLS = "session_id, text, features, context, response, feedback_text, error, context_hash, dedupe_hash"


def erase(log, session="s1"):
    return erase_session(log.writer, session, log.store.privacy)


def said(log, session, word):
    """A decision of which everything is kept that can be, and what was said of it."""
    task = Task(word, session_id=session, features={"n": word}, metadata={"m": word})
    decision = log.decision(task=task)
    decision.vectors = {"e": np.float32([1.0])}
    log.decide(decision)
    log.tell(decision, response=word, feedback_text=word, error=word, quality=0.5)
    return decision


def payloads(log):
    return {seq: cells for seq, *cells in log.query(f"SELECT seq, {CELLS} FROM payloads ORDER BY seq")}


def test_of_a_session_the_numbers_are_left(log, monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 77.0))
    mine, other, later = said(log, "s1", "mine"), said(log, "s2", "other"), said(log, "s1", "later")
    before = payloads(log)
    assert list(before) == [1, 2, 3, 4, 5, 6]
    number, erasure = erase(log)
    assert erasure == Erasure(7, (mine.decision_id, later.decision_id), ("s1",))
    after = payloads(log)
    assert list(after) == list(before)  # rows stay where they are
    for seq, cells in after.items():
        assert cells == (before[seq] if seq in (3, 4) else [None] * 9)
    assert None not in before[3][:4]
    assert before[4][4:7] == ["other"] * 3
    assert log.query("SELECT seq FROM vectors ORDER BY seq") == [(3,)]
    assert log.query("SELECT quality FROM outcomes ORDER BY seq") == [(0.5,)] * 3
    gone = f"{mine.decision_id} {later.decision_id}"
    assert log.query("SELECT seq, decision_ids, at FROM forgotten") == [(7, gone, 77.0)]
    ids = {decision_id for (decision_id,) in log.query("SELECT decision_id FROM forgotten_decisions")}
    assert ids == {mine.decision_id, later.decision_id}
    (intent,) = log.store.reader.query(pending_intents)
    assert (intent.number, intent.kind, Erasure.of(intent.body)) == (number, "forget", erasure)
    assert log.store.reader.session_decisions("s1") == []
    assert log.store.reader.session_decisions("s2") == [other.decision_id]


def test_what_is_said_later_of_a_forgotten_decision_is_not_kept_either(log):
    gone, kept = said(log, "s1", "x"), said(log, "s2", "y")
    erase(log)
    log.tell(gone, response="later", quality=0.25)
    log.tell(kept, response="later", quality=0.75)
    told = """SELECT o.quality, p.response FROM outcomes o LEFT JOIN payloads p ON p.seq = o.seq
              WHERE o.seq > 5 ORDER BY o.seq"""
    assert log.query(told) == [(0.25, None), (0.75, "later")]


def test_a_session_that_is_not_there_makes_no_event_and_is_looked_for_elsewhere(log):
    said(log, "s1", "x")
    number, erasure = erase(log, "never")
    assert erasure == Erasure(3, (), ("never",))
    assert log.tail.head() == 2
    assert log.query("SELECT 1 FROM forgotten") == log.query("SELECT 1 FROM forgotten_decisions") == []
    assert [intent.number for intent in log.store.reader.query(pending_intents)] == [number]
    assert None not in payloads(log)[1][:4]


def test_what_waits_for_the_disk_is_forgotten_too(log):
    decision = log.decision(task=Task("x", session_id="s1"))
    log.writer.offer(decision)
    assert erase(log)[1].decisions == (decision.decision_id,)


@pytest.mark.parametrize(("mode", "kept"), [("full", 1), ("redacted", 1), ("hmac", 2), ("none", 2)])
def test_a_session_is_found_under_its_id_and_under_its_hash(open_log, mode, kept):
    plain = open_log()
    old = said(plain, "s1", "x")
    plain.close()
    log = open_log(privacy=mode)
    new, other = said(log, "s1", "y"), said(log, "s2", "z")
    hidden = log.store.privacy.session("s1")
    _, erasure = erase(log)
    assert erasure.sessions == ("s1", hidden)[:kept]
    assert erasure.decisions == (old.decision_id, new.decision_id)
    assert log.store.reader.session_decisions(log.store.privacy.session("s2")) == [other.decision_id]
    assert len(log.query("SELECT 1 FROM payloads WHERE session_id IS NOT NULL")) == 1


def test_letters_lose_their_body_with_the_decision_and_all_where_they_quote_the_session(log):
    decision = said(log, 'sé"1', "x")
    letters = [
        ("outcome", decision.decision_id, "late", "body"),
        ("outcome", "f" * 32, "late", "body"),
        ("outcome", None, "late", 'of sé"1 itself'),
        ("outcome", None, "late", r'{"session_id": "s\u00e9\"1"}'),
        ("outcome", None, 'no sé"1 here', "body"),
        ("outcome", None, r"no s\u00e9\"1 here", None),
        ("outcome", None, "of sé alone", "sé 1"),
        ("outcome", None, r"no s\u00e9\"2", r"no t\u00e9\"1"),
    ]
    write_dead_letters(log.writer, letters)
    erase(log, 'sé"1')
    assert log.query("SELECT reason, body FROM dead_letters ORDER BY id") == [
        ("late", None),
        ("late", "body"),
        ("erased", None),
        ("erased", None),
        ("erased", None),
        ("erased", None),
        ("of sé alone", "sé 1"),
        (r"no s\u00e9\"2", r"no t\u00e9\"1"),
    ]


def teach(log, *rows):
    log.writer.transact(
        lambda connection, seq: connection.executemany("INSERT INTO pretraining VALUES (?, ?, ?, ?)", rows) and None
    )


def test_what_a_pretraining_was_made_of_is_forgotten_as_well(log):
    decision = said(log, "s1", "x")
    teach(log, ("t1", "s1", "h", None), ("t2", "s2", "h", None), ("t3", None, None, None))
    _, erasure = erase(log)
    assert erasure.decisions == (decision.decision_id, "t1")
    assert log.query("SELECT decision_id FROM pretraining ORDER BY 1") == [("t2",), ("t3",)]
    assert erase(log, "s2")[1].decisions == ("t2",)
    assert log.query("SELECT decision_ids FROM forgotten ORDER BY seq") == [(f"{decision.decision_id} t1",), ("t2",)]


def test_what_a_pretraining_of_an_earlier_release_was_made_of_may_be_anybodys(log):
    teach(log, ("t1", "s1", "h", ""), ("t2", "s1", "h", "acme"), ("t3", "s1", "h", "globex"))
    assert erase_session(log.writer, "s1", log.store.privacy, "acme")[1].decisions == ("t1", "t2")
    assert log.query("SELECT decision_id FROM pretraining") == [("t3",)]


def test_a_tenants_session_is_forgotten_and_nobody_elses(log):
    decided = {
        tenant: log.decide(task=Task(f"of {tenant}", session_id="s1", tenant=tenant)).decision_id
        for tenant in (None, "acme", "globex")
    }
    letters = [
        ("task", None, "refused", '{"text": "x", "session_id": "s1", "tenant": "globex"}'),
        ("task", None, "refused", '{"text": "x", "session_id": "s1", "tenant": "acme"}'),
        ("task", None, "refused", "whose s1 this is nobody knows"),
    ]
    write_dead_letters(log.writer, letters)
    assert erase_session(log.writer, "s1", log.store.privacy, "acme")[1].decisions == (decided["acme"],)
    assert [cells[1] for cells in payloads(log).values()] == ["of None", None, "of globex"]
    assert log.query("SELECT reason FROM dead_letters ORDER BY id") == [("refused",), ("erased",), ("erased",)]
    assert log.store.reader.session_decisions("s1", "acme") == []
    assert log.store.reader.session_decisions("s1") == [decided[None]]
    assert erase(log, "s1")[1].decisions == (decided[None],)
    assert log.store.reader.session_decisions("s1", "globex") == [decided["globex"]]


def test_an_erasure_is_read_from_an_intent_as_it_was_logged():
    for tenant in (None, "acme"):
        erasure = Erasure(3, ("a", "b"), ("s", "h"), tenant)
        body = {"seq": "3", "decisions": ["a", "b"], "sessions": ["s", "h"]}
        assert Erasure.of({**body, "tenant": tenant}) == Erasure.of(erasure._asdict()) == erasure
        assert {type(erasure.decisions), type(Erasure.of(erasure._asdict()).decisions)} == {tuple}
        assert [erasure.concerns(other) for other in (tenant, "globex")] == [True, False]
    everybodys = Erasure.of(body)  # as an earlier release logged it
    assert [everybodys.concerns(tenant) for tenant in (None, "acme")] == [True, True]


def test_what_is_found_elsewhere_is_added_to_an_erasure(log, monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 88.0))
    decision = said(log, "s1", "x")
    other = log.writer.transact(lambda connection, seq: add_intent(connection, "forget", {"seq": 1}))
    number, erasure = erase(log)
    assert add_to_erasure(log.writer, number, erasure, [decision.decision_id]) is erasure
    assert add_to_erasure(log.writer, number, erasure, iter(())) is erasure
    assert log.tail.head() == erasure.seq == 3
    grown = add_to_erasure(log.writer, number, erasure, iter(["n1", decision.decision_id, "n2"]))
    assert grown == Erasure(4, (decision.decision_id, "n1", "n2"), ("s1",))
    assert log.query("SELECT seq, decision_ids, at FROM forgotten WHERE seq > 3") == [(4, "n1 n2", 88.0)]
    ids = {decision_id for (decision_id,) in log.query("SELECT decision_id FROM forgotten_decisions")}
    assert ids == set(grown.decisions)
    first, second = log.store.reader.query(pending_intents)
    assert (first.number, first.body) == (other, {"seq": 1})
    assert (second.number, Erasure.of(second.body)) == (number, grown)


def test_the_write_ahead_log_is_empty_afterwards(log):
    said(log, "s1", "x")
    wal = log.path.with_name(log.path.name + "-wal")
    assert wal.stat().st_size > 0
    empty_write_ahead_log(log.writer)
    assert wal.stat().st_size == 0


def test_a_reader_that_keeps_old_pages_is_named(log):
    said(log, "s1", "x")
    with closing(open_reader(log.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM decisions").fetchall()
        erase(log)
        with pytest.raises(StoreUnavailableError, match="a reader keeps old pages"):
            empty_write_ahead_log(log.writer, 0.0)
        reader.execute("COMMIT")
        empty_write_ahead_log(log.writer, 0.0)


class Emptying:
    """A writer whose log is empty at the ``number``-th try."""

    def __init__(self, number):
        self.left = number

    def scrub(self):
        self.left -= 1
        return not self.left


@pytest.mark.parametrize(("times", "tries", "slept"), [([], 1, 0), ([4.0], 2, 1), ([10.0, 14.0], 3, 2), ([14.5], 2, 0)])
def test_the_patience_with_readers_has_an_end(monkeypatch, times, tries, slept):
    moments, rests = iter([4.0, *times]), []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments), sleep=rests.append))
    writer = Emptying(tries)
    if slept < tries - 1:
        with pytest.raises(StoreUnavailableError):
            empty_write_ahead_log(writer)
    else:
        empty_write_ahead_log(writer)
    assert rests == [0.02] * slept
    assert next(moments, None) is None
    assert writer.left == tries - 1 - slept


def taught(log):
    return sorted(log.query("SELECT decision_id, session_id, context_hash, tenant FROM pretraining"))


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 6])
def test_of_made_up_examples_ids_sessions_and_hashes_are_remembered(open_log, tmp_path, monkeypatch, piece):
    monkeypatch.setattr(pretraining, "_PIECE", piece)
    source = open_log(path=tmp_path / "made-up.db")
    tasks = [Task(f"text {n}", session_id=f"s{n}", tenant=f"t{n}" if n else None) for n in range(4)]
    decisions = [source.decide(task=task) for task in (*tasks, Task(task_type="bare"))]
    log = open_log()
    teach(log, (decisions[0].decision_id, "old", "old", ""), ("kept", "s9", None, None))
    calls = []
    transact = log.writer.transact
    monkeypatch.setattr(log.writer, "transact", lambda work: calls.append(1) or transact(work))
    copy_pretraining(log.writer, source.path)
    privacy = log.store.privacy
    expected = [
        (d.decision_id, t.session_id, privacy.fingerprint(t.text), t.tenant)
        for d, t in zip(decisions, tasks, strict=False)
    ]
    assert taught(log) == sorted([*expected, (decisions[4].decision_id, None, None, None), ("kept", "s9", None, None)])
    assert len(calls) == -(-5 // piece)


def test_of_nothing_nothing_is_remembered(open_log, tmp_path):
    log, source = open_log(), open_log(path=tmp_path / "made-up.db")
    copy_pretraining(log.writer, source.path)
    assert taught(log) == []
    with pytest.raises(StoreUnavailableError):
        copy_pretraining(log.writer, tmp_path / "missing.db")
