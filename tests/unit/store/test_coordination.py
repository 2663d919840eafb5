import contextlib
import sqlite3
import time
from types import MappingProxyType, SimpleNamespace

import pytest

from router_sdk.store import Store
from router_sdk.store import coordination as consumers
from router_sdk.store.coordination import (
    Intent,
    add_intent,
    continue_intent,
    finish_intent,
    low_water,
    note_consumers,
    pending_intents,
    read_intent,
)
from router_sdk.store.leadership import Mark
from router_sdk.store.sqlite import SQLiteEngine

NOW = 1_000_000.0


def in_one(log, work, *arguments):
    return log.writer.transact(lambda connection, seq: work(connection, *arguments))


def pending(log):
    return log.store.reader.query(pending_intents)


def read(log, number):
    return log.store.reader.query(lambda connection: read_intent(connection, number))


# -- intents


def test_an_intent_is_logged_with_its_time_and_what_it_takes_to_go_on(log):
    started = time.time()
    body = {"text": "täxt", "list": [1, None, {"x": 0.1}], "yes": True}
    number = in_one(log, add_intent, "import", MappingProxyType(body))
    assert number == 1
    (intent,) = pending(log)
    assert started <= intent.at <= time.time()
    assert intent == Intent(1, "import", intent.at, body)
    assert (intent.number, intent.kind, intent.body) == (1, "import", body)
    assert read(log, 1) == body


@pytest.mark.parametrize("kind", ["forget", "archive", "promote", "import"])
def test_every_kind_can_be_logged(log, kind):
    in_one(log, add_intent, kind, {})
    assert [(intent.kind, intent.body) for intent in pending(log)] == [(kind, {})]


def test_another_kind_is_refused_and_nothing_of_it_stays(log):
    with pytest.raises(sqlite3.IntegrityError):
        in_one(log, add_intent, "else", {})
    assert pending(log) == []


def test_an_intent_goes_on_and_ends_and_the_others_stay_as_they_are(log):
    numbers = [in_one(log, add_intent, kind, {"kind": kind}) for kind in ("forget", "archive", "promote")]
    before = pending(log)
    assert [intent.number for intent in before] == numbers == [1, 2, 3]
    in_one(log, continue_intent, 2, MappingProxyType({"so": "far"}))
    assert read(log, 2) == {"so": "far"}
    assert pending(log) == [before[0], before[1]._replace(body={"so": "far"}), before[2]]
    in_one(log, finish_intent, 2)
    assert read(log, 2) is None
    assert pending(log) == [before[0], before[2]]
    in_one(log, finish_intent, 2)
    in_one(log, continue_intent, 2, {})
    assert pending(log) == [before[0], before[2]]
    assert [read(log, number) for number in (0, 1, 3, 4)] == [None, {"kind": "forget"}, {"kind": "promote"}, None]


def test_a_step_that_fails_is_not_noted(log):
    number = in_one(log, add_intent, "forget", {"step": 1})

    def fails(connection, seq):
        continue_intent(connection, number, {"step": 2})
        add_intent(connection, "archive", {})
        assert read_intent(connection, number) == {"step": 2}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        log.writer.transact(fails)
    assert [(intent.number, intent.body) for intent in pending(log)] == [(number, {"step": 1})]


# -- consumers


@pytest.fixture
def at(monkeypatch):
    """Let consumers believe that it is another time."""

    def set_to(moment):
        monkeypatch.setattr(consumers, "time", SimpleNamespace(time=lambda: moment))

    set_to(NOW)
    return set_to


def noted(log):
    return sorted(log.query("SELECT process, name, cursor, at FROM consumers"))


def lowest(log, process):
    return log.store.reader.query(lambda connection: low_water(connection, process))


def test_a_process_says_how_far_each_fold_is_saved(log, at):
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 3, "bert": 0}))
    assert noted(log) == [("one", "bert", 0, NOW), ("one", "thompson", 3, NOW)]
    at(NOW + 1.5)
    log.writer.transact(lambda connection, seq: note_consumers(connection, "two", {"thompson": 9}))
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 4}))
    assert noted(log) == [("one", "thompson", 4, NOW + 1.5), ("two", "thompson", 9, NOW + 1.5)]
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {}))
    assert noted(log) == [("two", "thompson", 9, NOW + 1.5)]


def test_the_time_is_that_of_the_clock(log):
    started = time.time()
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 3}))
    ((_, _, _, moment),) = noted(log)
    assert started <= moment <= time.time()
    assert lowest(log, "two") == 3


def test_the_lowest_is_that_of_the_others(log, at):
    assert lowest(log, "one") is None
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 1, "bert": 2}))
    assert lowest(log, "one") is None
    log.writer.transact(lambda connection, seq: note_consumers(connection, "two", {"thompson": 7, "bert": 5}))
    log.writer.transact(lambda connection, seq: note_consumers(connection, "three", {"thompson": 6}))
    assert [lowest(log, process) for process in ("one", "two", "three", "four")] == [5, 1, 1, 1]
    log.writer.transact(lambda connection, seq: note_consumers(connection, "two", {"thompson": 0}))
    assert [lowest(log, process) for process in ("one", "two")] == [0, 1]


@pytest.mark.parametrize(
    ("silent_s", "counts", "stays"), [(3_599.5, 4, True), (3_600.0, None, True), (3_600.5, None, False)]
)
def test_who_was_not_heard_of_for_an_hour_is_gone(log, at, silent_s, counts, stays):
    at(NOW - silent_s)
    log.writer.transact(lambda connection, seq: note_consumers(connection, "old", {"thompson": 4}))
    at(NOW)
    assert lowest(log, "new") == counts
    log.writer.transact(lambda connection, seq: note_consumers(connection, "new", {"thompson": 8}))
    assert lowest(log, "third") == (4 if counts else 8)
    assert [process for process, *_ in noted(log)] == ["new", "old"][: 1 + stays]


def test_a_process_that_was_silent_for_long_is_there_again_once_it_speaks(log, at):
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 4}))
    at(NOW + 10_000.0)
    assert lowest(log, "two") is None
    log.writer.transact(lambda connection, seq: note_consumers(connection, "one", {"thompson": 4}))
    assert lowest(log, "two") == 4
    assert noted(log) == [("one", "thompson", 4, NOW + 10_000.0)]


def test_two_logs_whose_files_stand_in_one_folder_are_led_apart(tmp_path):
    class Shared(SQLiteEngine):
        """A file whose folder is that of all."""

        @classmethod
        def of(cls, url, schema):
            made = cls(tmp_path / url.removeprefix("shared://"))
            made.folder = tmp_path / "folder"
            return made

    with contextlib.ExitStack() as opened:
        first, second, again = (
            opened.enter_context(contextlib.closing(Store(f"shared://{name}", engines={"shared": Shared})))
            for name in ("a.db", "b.db", "a.db")
        )
        assert first.leadership.take()
        assert second.leadership.take()
        assert not again.leadership.take()
        first.leadership.publish({"s": Mark(1, "")}, lambda folder: None)
        assert again.leadership.newest() is not None
        assert second.leadership.newest() is None
