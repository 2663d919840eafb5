import gzip
import json
import math
import os
import re
import time

import numpy as np
import pytest

from router_sdk import Task
from router_sdk.errors import CorruptArtifactError
from router_sdk.store import retention
from router_sdk.store.artifacts import archives
from router_sdk.store.coordination import finish_intent, pending_intents
from router_sdk.store.erasure import Erasure
from router_sdk.store.retention import (
    archived_decisions,
    before_of_size,
    begin_archive,
    erase_from_archive,
    go_on_archiving,
)
from router_sdk.store.rows import Entry

TABLES = ("decisions", "outcomes", "payloads", "vectors")


def begun(log, before, upto):
    number = begin_archive(log.writer, before, upto)
    return next(intent for intent in pending(log) if intent.number == number)


def pending(log):
    return log.store.reader.query(pending_intents)


def go_on(log, intent, *rest):
    return go_on_archiving(log.writer, log.store.engine, intent, *rest)


def fill(log, count):
    log.writer.append([Entry(decision=log.decision(at=1.0)) for _ in range(count)])


def seqs(log, table="decisions"):
    return [seq for (seq,) in log.query(f"SELECT seq FROM {table} ORDER BY seq")]


def dump(log):
    """Every row as an archive spells it."""

    def read(connection):
        found = []
        for table in TABLES:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY seq")
            names = [column[0] for column in cursor.description]
            for row in cursor:
                plain = [value.hex() if isinstance(value, bytes) else value for value in row]
                found.append({"table": table, **dict(zip(names, plain, strict=True))})
        return found

    return log.store.reader.query(read)


def lines(content):
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def session(log, name, at=1.0):
    """A decision with everything that is kept of one, and two outcomes; its id and the positions of all three."""
    decision = log.decision(at=at, task=Task(f"text {name}", session_id=name, features={"note": name}))
    decision.vectors = {"words:fp32": np.float32([0.5, 1.5]), "chars:int8": np.int8([1])}
    log.decide(decision)
    log.tell(decision, quality=0.5, response=f"response {name}")
    log.tell(decision, f"told {name}", feedback=-1.0, feedback_text=f"feedback {name}")
    head = log.tail.head()
    return decision.decision_id, {head - 2, head - 1, head}


# -- what is archived


def test_what_is_to_go_is_logged_before_anything_goes(log):
    log.decide(at=1.0)
    intents = [begun(log, 2.5, 7) for _ in range(2)]
    names = [intent.body.pop("file") for intent in intents]
    assert [intent.kind for intent in intents] == ["archive"] * 2
    assert [intent.body for intent in intents] == [
        {"before": 2.5, "rest_before": 2.5, "whole": 0, "upto": 7, "after": 0, "bytes": 0, "count": 0}
    ] * 2
    assert all(re.fullmatch(r"[0-9a-f]{32}\.jsonl\.gz", name) for name in names)
    assert names[0] != names[1]
    assert seqs(log) == [1]
    assert not (log.store.folder / "archive").exists()


def test_pieces_of_256_are_on_disk_before_they_go_and_are_counted(log):
    fill(log, 257)
    intent = begun(log, 2.0, 257)
    target = log.store.folder / "archive" / intent.body["file"]
    seen = []

    def rest():
        (now,) = pending(log)
        content = target.read_bytes()
        assert now.body == intent.body | {name: now.body[name] for name in ("after", "count")} | {"bytes": len(content)}
        seen.append((now.body["after"], now.body["count"], len(seqs(log)), len(lines(content))))
        return True

    assert go_on(log, intent, rest) == (257, target)
    assert seen == [(256, 256, 1, 512), (257, 257, 0, 514)]
    assert pending(log) == []
    assert [seqs(log, table) for table in TABLES] == [[]] * 4
    pieces = [("decisions", range(1, 257)), ("payloads", range(1, 257)), ("decisions", [257]), ("payloads", [257])]
    expected = [(table, seq) for table, positions in pieces for seq in positions]
    assert [(row["table"], row["seq"]) for row in lines(target.read_bytes())] == expected
    assert log.query("SELECT name, seq FROM positions") == [("archived", 257), ("moved", 257)]


def test_whoever_goes_on_cuts_away_what_was_written_last_and_counts_on(log, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 2)
    fill(log, 5)
    before = dump(log)
    intent = begun(log, 2.0, 5)
    moved, path = go_on(log, intent, lambda: False)
    assert (moved, seqs(log)) == (2, [3, 4, 5])
    (left,) = pending(log)
    assert (left.body["after"], left.body["count"], left.body["bytes"]) == (2, 2, path.stat().st_size)
    with path.open("ab") as file:
        file.write(gzip.compress(b'{"table": "decisions", "seq": 3}\n') + os.urandom(50_000))
    assert go_on(log, intent) == (5, path)  # what it says is old: the log knows better
    assert sorted(map(json.dumps, lines(path.read_bytes()))) == sorted(map(json.dumps, before))
    assert archives(log.store.folder) == [path]


@pytest.mark.parametrize("left", [0, None])
def test_a_file_that_is_not_as_long_as_it_was_left_is_not_padded_and_the_rest_stays(log, monkeypatch, left):
    """It was lost, or stands on another machine that was cut off."""
    monkeypatch.setattr(retention, "PIECE", 2)
    fill(log, 5)
    intent = begun(log, 2.0, 5)
    _, path = go_on(log, intent, lambda: False)
    path.unlink() if left is None else os.truncate(path, left)
    with pytest.raises(CorruptArtifactError, match=r"bytes of it were written, and here are 0"):
        go_on(log, intent)
    assert seqs(log) == [3, 4, 5]
    assert path.exists() == (left is not None)


def test_what_somebody_else_has_finished_is_left(log, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 2)
    fill(log, 5)
    intent = begun(log, 2.0, 5)
    calls = []

    def rest():
        calls.append(len(seqs(log)))
        log.writer.transact(lambda connection, seq: finish_intent(connection, intent.number))
        return True

    moved, path = go_on(log, intent, rest)
    assert (moved, calls, seqs(log)) == (2, [3], [3, 4, 5])
    assert len(lines(path.read_bytes())) == 4
    assert go_on(log, intent) == (0, None)
    assert seqs(log) == [3, 4, 5]


def test_nothing_to_move_leaves_no_file_and_no_intent(log):
    fill(log, 1)
    asked = []
    assert go_on(log, begun(log, 1.0, 1), lambda: asked.append(1) or True) == (0, None)
    assert pending(log) == asked == []
    assert list((log.store.folder / "archive").iterdir()) == []
    assert log.query("SELECT * FROM positions") == []


def test_what_stands_behind_the_position_stays_with_what_it_is_about(log):
    log.tell(log.decide(at=1.0), quality=0.5)
    fill(log, 1)
    log.tell(log.decide(at=1.0), quality=0.5)
    assert (seqs(log), seqs(log, "outcomes")) == ([1, 3, 4], [2, 5])
    left = []
    for upto in range(6):
        log.archive(2.0, upto)
        left.append((seqs(log), seqs(log, "outcomes")))
    assert left[:2] == [([1, 3, 4], [2, 5])] * 2
    assert left[2:] == [([3, 4], [5]), ([4], [5]), ([4], [5]), ([], [])]


def test_what_was_decided_at_that_time_or_later_stays(log):
    for at in (10.0, math.nextafter(10.0, 0.0), 11.0, 9.0):
        log.decide(at=at)
    assert log.archive(10.0, 4)[0] == 2
    assert seqs(log) == [1, 3]


def test_the_file_holds_the_rows_that_went_and_the_log_all_others(log):
    _, first = session(log, "one")
    _, kept = session(log, "two", at=5.0)
    _, third = session(log, "three")
    before = dump(log)
    moved, path = log.archive(2.0, log.tail.head())
    assert moved == 2
    assert lines(path.read_bytes()) == [row for row in before if row["seq"] in first | third]
    assert dump(log) == [row for row in before if row["seq"] in kept]
    assert {row["table"] for row in dump(log)} == set(TABLES)
    assert log.query("SELECT * FROM positions") == [("archived", 9), ("moved", 9)]


def test_the_file_is_its_owners_and_its_folder_is_synced_once(log, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 2)
    synced, flushed = [], []
    monkeypatch.setattr(retention, "sync", synced.append)
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino) or fsync(descriptor)
    )
    fill(log, 5)
    _, path = log.archive(2.0, 5)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert synced == [path.parent]
    assert flushed == [path.stat().st_ino] * 3


def test_with_each_piece_256_pages_are_given_back(log, monkeypatch):
    monkeypatch.setattr(retention, "PIECE", 50)
    large = [log.decision(at=1.0) for _ in range(51)]
    for decision in large:
        decision.vectors = {"words:fp32": np.zeros(10_000, np.float32)}
    log.writer.append([Entry(decision=decision) for decision in large])

    def pages():
        return log.query("PRAGMA page_count")[0][0], log.query("PRAGMA freelist_count")[0][0]

    before, _ = pages()
    found = []
    go_on(log, begun(log, 2.0, 51), lambda: bool(found.append(pages())))
    assert before - found[0][0] == 256
    assert found[0][1] > 200


def test_a_file_whose_name_leads_elsewhere_is_never_written(log):
    fill(log, 1)
    intent = begun(log, 2.0, 1)
    intent.body["file"] = "../elsewhere"
    with pytest.raises(CorruptArtifactError, match="no name"):
        go_on(log, intent)
    assert seqs(log) == [1]


# -- erasure in archives


def test_archives_are_listed_in_order_and_nothing_else_is(tmp_path):
    assert archives(tmp_path) == []
    (tmp_path / "archive").mkdir()
    for name in ("b.jsonl.gz", "a.jsonl.gz", ".draft-x", "c.gz", "d.jsonl"):
        (tmp_path / "archive" / name).touch()
    assert [path.name for path in archives(tmp_path)] == ["a.jsonl.gz", "b.jsonl.gz"]


def erased(*sessions, tenant=None):
    return Erasure(0, (), sessions, tenant)


def test_a_session_is_found_in_an_archive(log):
    ids = [session(log, name)[0] for name in ("one", "two", "one", "three")]
    _, path = log.archive(2.0, log.tail.head())
    assert archived_decisions(path, erased("one")) == [ids[0], ids[2]]
    assert archived_decisions(path, erased("three", "two")) == [ids[1], ids[3]]
    assert archived_decisions(path, erased("four")) == archived_decisions(path, erased()) == []


def test_a_tenants_session_is_found_in_an_archive_and_nobody_elses(log):
    tenants = ("acme", "globex", None, "acme")
    ids = [log.decide(task=Task("x", session_id="1", tenant=tenant), at=1.0).decision_id for tenant in tenants]
    _, path = log.archive(2.0, log.tail.head())
    assert archived_decisions(path, erased("1", tenant="acme")) == [ids[0], ids[3]]
    assert archived_decisions(path, erased("1", tenant="globex")) == [ids[1]]
    assert archived_decisions(path, erased("1", tenant="initech")) == []
    assert archived_decisions(path, erased("1")) == [ids[2]]
    assert archived_decisions(path, erased("1", tenant="")) == ids  # an erasure that an earlier release began


def write(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_decisions_come_in_the_order_of_the_log_and_payloads_without_one_are_passed_over(tmp_path):
    positions = [900, 5, 77, 6]
    payloads = [{"table": "payloads", "seq": seq, "session_id": "s"} for seq in positions]
    others = [{"table": "outcomes", "seq": 8, "session_id": "s", "decision_id": "d8"}, {"seq": 9, "session_id": "s"}]
    decisions = [{"table": "decisions", "seq": seq, "decision_id": f"d{seq}"} for seq in (77, 900, 5, 8, 9)]
    write(tmp_path / "file", payloads + others + decisions)
    assert archived_decisions(tmp_path / "file", erased("s")) == ["d5", "d77", "d900"]


def test_erasing_takes_payloads_and_vectors_and_leaves_every_other_row(log):
    first, about_first = session(log, "one")
    session(log, "two")
    third, about_third = session(log, "three")
    before = dump(log)
    _, path = log.archive(2.0, log.tail.head())
    gone = about_first | about_third
    assert erase_from_archive(path, [first, third, "0" * 32]) is True
    expected = [row for row in before if row["seq"] not in gone or row["table"] in ("decisions", "outcomes")]
    assert lines(path.read_bytes()) == expected
    assert len(expected) == len(before) - 6 - 4
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert b"text one" not in gzip.decompress(path.read_bytes())
    assert b"text two" in gzip.decompress(path.read_bytes())


def test_an_archive_without_the_decision_is_not_written_anew(log):
    session(log, "one")
    _, path = log.archive(2.0, log.tail.head())
    inode, content = path.stat().st_ino, path.read_bytes()
    assert erase_from_archive(path, ["0" * 32]) is False
    assert erase_from_archive(path, []) is False
    assert (path.stat().st_ino, path.read_bytes()) == (inode, content)


def test_an_archive_written_anew_is_on_disk_before_it_takes_the_old_ones_place(log, monkeypatch):
    decision_id, _ = session(log, "one")
    _, path = log.archive(2.0, log.tail.head())
    content, synced = path.read_bytes(), []

    def sync(synced_path):
        if synced_path != path.parent:
            assert path.read_bytes() == content
            assert len(lines(synced_path.read_bytes())) == 3
        synced.append((synced_path.parent.name, synced_path.name[:7]))

    monkeypatch.setattr(retention, "sync", sync)
    assert erase_from_archive(path, [decision_id])
    assert synced == [("archive", ".draft-"), (path.parent.parent.name, "archive")]


def test_an_archive_that_cannot_be_written_anew_stays_as_it_was(log, monkeypatch):
    decision_id, _ = session(log, "one")
    _, path = log.archive(2.0, log.tail.head())
    content = path.read_bytes()

    def full(path):
        raise OSError("full")

    monkeypatch.setattr(retention, "sync", full)
    with pytest.raises(OSError, match="full"):
        erase_from_archive(path, [decision_id])
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


WHOLE = gzip.compress(b'{"table": "decisions", "seq": 1, "decision_id": "d"}\n' * 9, mtime=0)
DAMAGES = {
    "no archive": b"{}",
    "cut off": WHOLE[:-12],
    "a sum that is wrong": WHOLE[:-8] + bytes([WHOLE[-8] ^ 1]) + WHOLE[-7:],
    "a block of no kind": WHOLE[:10] + b"\x07" + WHOLE[11:],
    "no JSON": gzip.compress(b"{\n"),
    "no text": gzip.compress(b"\xff\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_named_and_left_as_it_is(tmp_path, damage):
    path = tmp_path / "one.jsonl.gz"
    path.write_bytes(DAMAGES[damage])
    for read, what in ((archived_decisions, erased("s")), (erase_from_archive, ["d"])):
        with pytest.raises(CorruptArtifactError, match=r"^one\.jsonl\.gz cannot be read: .") as caught:
            read(path, what)
        assert caught.value.__cause__ is not None
    assert path.read_bytes() == DAMAGES[damage]
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CorruptArtifactError, match=r"one\.gz cannot be read: .*No such file"):
        archived_decisions(tmp_path / "one.gz", erased("s"))


# -- how much there is


def test_the_size_is_that_of_pages_in_use(log):
    fill(log, 300)
    full = log.store.reader.query(lambda connection: connection.size())
    assert full == log.query("PRAGMA page_count")[0][0] * 4096
    log.writer.transact(lambda connection, seq: connection.execute("DELETE FROM payloads"))
    pages, free = log.query("PRAGMA page_count")[0][0], log.query("PRAGMA freelist_count")[0][0]
    assert free > 1
    assert log.store.reader.query(lambda connection: connection.size()) == (pages - free) * 4096 < full == pages * 4096


def test_as_many_of_the_oldest_go_as_take_the_space_that_is_too_much(log):
    times = [30.0, 10.0, 40.0, 20.0]
    for at in times:
        log.decide(at=at)

    def before(most):
        return log.store.reader.query(lambda connection: before_of_size(connection, most))

    size = log.store.reader.query(lambda connection: connection.size())
    assert size % 16 == 0
    assert before(size + 1) is before(size) is None
    assert before(size - 1) == before(size * 3 // 4 + 1) == before(size * 3 // 4) == 20.0
    assert before(size * 3 // 4 - 1) == before(size // 2) == 30.0
    assert before(size // 4) == 40.0
    started = time.time()
    assert started <= before(size // 4 - 1) <= before(0) <= time.time()
    assert log.archive(before(size // 2), 4)[0] == 2


def test_a_log_without_decisions_that_is_too_large_has_none_to_spare(log):
    started = time.time()
    assert started <= log.store.reader.query(lambda connection: before_of_size(connection, 1)) <= time.time()


@pytest.mark.parametrize("line", ["[1]", "7", '{"table": "decisions"}'])
def test_a_line_that_is_no_row_is_damage(tmp_path, line):
    path = tmp_path / "archive.jsonl.gz"
    path.write_bytes(gzip.compress(f"{line}\n".encode()))
    with pytest.raises(CorruptArtifactError, match="no row"):
        archived_decisions(path, erased("s"))
