import json
import os
import signal
import threading
import time

import pytest

ROWS = [{"text": "I was charged twice", "agent": "billing", "success": True}, {"text": "crash", "agent": "technical"}]


def put(folder, name, rows=ROWS, age=60.0):
    """A file that nobody has written to for a while."""
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, times=(time.time() - age,) * 2)
    return path


@pytest.fixture
def inbox(desk):
    folder = desk.folder / "inbox"
    folder.mkdir()
    return folder


def test_a_new_file_is_imported_once_and_put_aside(desk, inbox):
    put(inbox, "day.jsonl")
    events, _ = desk.lines("watch", str(inbox), "--once")
    assert [(one["event"], one["file"], one["imported"]) for one in events] == [("done", "day.jsonl", 2)]
    assert (inbox / "done" / "day.jsonl").is_file()
    assert not (inbox / "day.jsonl").exists()
    put(inbox, "day.jsonl", [{"text": "hello", "agent": "billing"}])
    desk.run("watch", str(inbox), "--once")
    assert (inbox / "done" / "2-day.jsonl").is_file()
    assert desk.json("status")["store"]["decisions"] == 3


def test_what_is_still_written_or_none_of_ours_waits(desk, inbox):
    waiting = [put(inbox, "fresh.jsonl", age=0.0), put(inbox, ".hidden.jsonl"), put(inbox, "notes.txt")]
    events, _ = desk.lines("watch", str(inbox), "--once")
    assert events == []
    assert all(path.exists() for path in waiting)
    events, _ = desk.lines("watch", str(inbox), "--once", "--settle", "0")
    assert [one["file"] for one in events] == ["fresh.jsonl"]


def test_what_cannot_be_used_is_set_apart_with_a_reason(desk, inbox):
    put(inbox, "a.csv", "title,colour\nx,red\n", age=90)
    put(inbox, "b.jsonl", [{"text": "x", "agent": "nobody"}], age=80)
    put(inbox, "c.jsonl", [*ROWS, {"text": "x", "agent": "nobody"}], age=70)
    events, _ = desk.lines("watch", str(inbox), "--once", code=2)
    assert [(one["file"], one["event"]) for one in events] == [
        ("a.csv", "failed"),
        ("b.jsonl", "failed"),
        ("c.jsonl", "done"),
    ]
    assert events[2]["rejected"] == 1
    assert "nobody" in (inbox / "failed" / "b.jsonl.reason").read_text()
    assert (inbox / "failed" / "a.csv").is_file()
    assert (inbox / "done" / "c.jsonl").is_file()


def test_a_link_and_a_file_without_lines_bring_nothing(desk, inbox):
    secret = put(desk.folder, "elsewhere.jsonl", age=90)
    link = inbox / "link.jsonl"
    link.symlink_to(secret)
    os.utime(link, times=(time.time() - 80,) * 2, follow_symlinks=False)
    put(inbox, "head.csv", "text,agent\n", age=70)
    put(inbox, "empty.jsonl", "", age=60)
    events, _ = desk.lines("watch", str(inbox), "--once", code=2)
    assert [(one["file"], one["event"]) for one in events] == [
        ("link.jsonl", "failed"),
        ("head.csv", "failed"),
        ("empty.jsonl", "failed"),
    ]
    assert "is a link" in (inbox / "failed" / "link.jsonl.reason").read_text()
    assert "no lines" in (inbox / "failed" / "head.csv.reason").read_text()
    assert secret.read_text()
    assert desk.json("status")["store"]["decisions"] == 0


def test_it_goes_on_until_it_is_told_to_end(desk, inbox):
    def come_and_go():
        put(inbox, "first.jsonl")
        while not (inbox / "done" / "first.jsonl").exists():
            time.sleep(0.01)
        put(inbox, "second.csv", "text,agent\nrefund,billing\n")
        while not (inbox / "done" / "second.csv").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=come_and_go)
    other.start()
    events, _ = desk.lines("watch", str(inbox), "--interval", "0.1")
    other.join()
    assert [one["file"] for one in events] == ["first.jsonl", "second.csv"]


def test_a_folder_that_is_not_there_is_a_mistake(desk):
    assert "no such folder" in desk.fault("watch", "nowhere", code=2)["message"]


def test_lines_in_are_lines_out(desk):
    asked = [
        {"task": "I was charged twice", "exclude": ["technical"]},
        {"task": {"text": "crash"}, "idempotency_key": "k"},
        {"task": {"text": "crash"}, "idempotency_key": "k"},
    ]
    answers, _ = desk.lines("stream", stdin="".join(json.dumps(one) + "\n" for one in asked))
    assert [one["line"] for one in answers] == [1, 2, 3]
    assert answers[0]["agent"] == "billing"
    assert answers[1]["decision_id"] == answers[2]["decision_id"]
    report = {"decision_id": answers[0]["decision_id"], "outcome": {"success": True}, "outcome_id": "d-1"}
    recorded, _ = desk.lines("stream", "-", stdin=(json.dumps(report) + "\n") * 2)
    assert [one["recorded"] for one in recorded] == [1, 1]
    assert desk.json("status")["store"]["outcomes"] == 1


def test_a_line_that_is_refused_stops_no_other(desk):
    lines = [{"task": "x"}, {"colour": "red"}, {"task": ""}, {"task": "x", "exclude": "billing"}, {"task": "y"}]
    answers, refused = desk.lines("stream", stdin="".join(json.dumps(one) + "\n" for one in lines) + "{\n", code=2)
    assert [one["line"] for one in answers] == [1, 5]
    assert [one["refused"]["line"] for one in refused if "refused" in one] == [2, 3, 4, 6]
    assert desk.json("status")["store"]["dead_letters"] == 4
