"""Experiments in the store: nothing half written, kept by backups, and nothing left of arms that are no more."""

import sqlite3
import time
from contextlib import closing

import pytest

from router_sdk import Outcome, Task
from router_sdk.errors import ExperimentError, InvalidInputError
from router_sdk.experiments.arms import Arm
from router_sdk.experiments.verdict import Verdict
from router_sdk.store import experiments as told
from router_sdk.store.experiments import experiments
from router_sdk.store.restore import restore

from .conftest import HOUR_S, look, taught

ARMS = [Arm(name="one", strategies=["counting"]), Arm(name="two", strategies=["counting"], learning=False)]


def live(router, count=40):
    for number in range(count):
        one = router.route(Task("hello", session_id=f"s{number // 2}"))
        router.record(one, Outcome(success=True, quality=0.5))
    router.flush()


def test_a_conclusion_that_is_cut_off_has_not_been(make, monkeypatch):
    router = make()
    router.experiments.start("pair", [Arm(name="other", strategies=["last"])])
    before = router._parts.store.reader.query(experiments)
    parts = router._parts

    def write(connection, *row):
        connection.execute(
            "INSERT INTO experiments VALUES (?, ?, ?, ?, ?, '{}')", (row[0], row[1], row[2], row[3], None)
        )
        raise sqlite3.OperationalError("the disk is gone")

    monkeypatch.setattr(told, "_write", write)
    verdict = Verdict("challenger", "other", "better", 1.0)
    with pytest.raises(Exception, match="disk is gone"):
        parts.learner.submit(lambda: parts.lifecycle.end(before[0], verdict)).result()
    monkeypatch.undo()
    assert parts.store.reader.query(experiments) == before
    assert router.experiments.show("pair")["status"] == "running"
    router.experiments.stop("pair", "other", reason="again")
    assert router.route("hello").agent == "coder"


def test_who_knows_an_older_state_changes_nothing(make):
    router = make()
    record = router.experiments.start("pair", [Arm(name="other", strategies=["last"])])
    router.experiments.stop("pair", reason="enough")
    parts = router._parts
    assert not parts.learner.submit(
        lambda: parts.lifecycle.end(record, Verdict("challenger", "other", "", 1.0))
    ).result()
    assert router.experiments.show("pair")["reason"] == "enough"


def test_a_backup_holds_the_experiment(make, tmp_path, clock):
    router = make(["counting"])
    router.experiments.start("pair", ARMS, shares={"one": 0.3, "two": 0.3})
    live(router)
    arms = [router.route(Task("hello", session_id=f"s{number}")).arm for number in range(20)]
    lessons = {name: taught(router, f"counting@pair.{name}").lessons for name in ("one", "two")}
    router.backup(tmp_path / "backup")
    restored = make(["counting"], store=restore(tmp_path / "backup", tmp_path / "restored.db").path)
    assert [restored.route(Task("hello", session_id=f"s{number}")).arm for number in range(20)] == arms
    for name, expected in lessons.items():
        assert len(taught(restored, f"counting@pair.{name}").lessons) == len(expected)
    closed = sum(arm["decisions"] for arm in restored.experiments.show("pair")["arms"])
    assert closed >= 40


def test_an_archive_leaves_the_arms_what_they_learnt(make):
    router = make(["counting"])
    router.experiments.start("pair", ARMS, shares={"one": 0.3, "two": 0.3})
    live(router)
    assert router.archive(time.time() + 1.0) == 40
    router.close()
    again = make(["counting"])
    assert not again._parts.serving.behind
    assert sum(count for count, _ in taught(again, "counting@pair.one").cells.values()) == 40
    assert sum(count for count, _ in taught(again, "counting@pair.two").cells.values()) == 0
    live(again, 10)


def test_nothing_is_left_of_arms_that_are_no_more(make, store_path):
    router = make(["counting"])
    router.experiments.start("pair", ARMS)
    live(router)
    router.snapshot()
    query = "SELECT DISTINCT strategy FROM snapshots WHERE strategy LIKE '%@%'"
    with closing(sqlite3.connect(store_path)) as connection:
        assert len(connection.execute(query).fetchall()) == 2
        router.experiments.stop("pair", reason="enough")
        look(router)
        assert connection.execute(query).fetchall() == []
    folders = (store_path.parent / f"{store_path.name}.artifacts" / "snapshots").iterdir()
    assert not [folder.name for folder in folders if "@" in folder.name]


def test_a_forgotten_session_stays_a_unit(make, clock):
    router = make()
    router.experiments.start("pair", [Arm(name="other", strategies=["last"])], shares={"other": 0.5})
    live(router)
    clock.ahead_s += 25 * HOUR_S

    def units():
        return [arm["closed"] for arm in router.experiments.show("pair")["analysis"]["arms"]]

    before = units()
    router.forget("s3")
    assert units() == before
    assert sum(before) == 20


def test_its_report_is_a_page(make, tmp_path):
    router = make()
    router.experiments.start("pair", [Arm(name="other", strategies=["last"])], shares={"other": 0.5})
    live(router)
    page = router.experiments.report("pair", tmp_path / "page.html")
    assert "pair: not decided yet" in page.read_text(encoding="utf-8")
    with pytest.raises(InvalidInputError):
        router.experiments.report("pair", tmp_path)
    router.experiments.start("aside", [Arm(name="other", strategies=["last"], shadow=True)])
    with pytest.raises(ExperimentError, match="shadows alone"):
        router.experiments.report("aside", tmp_path / "page.html")


def test_what_another_store_decided_under_the_same_name_is_no_unit_here(make, tmp_path):
    one, other = make(store=tmp_path / "one.db"), make(store=tmp_path / "other.db")
    for router in (one, other):
        router.experiments.start("a", [{"name": "new", "strategies": ["last"]}], challenger_share=0.5)
    for number in range(20):
        one.record(one.route(f"task {number}"), {"success": True})
    one.flush()
    one.examples.export(tmp_path / "there.jsonl")
    other.examples.import_from(tmp_path / "there.jsonl")
    other.flush()
    assert len(other.examples) == 20
    assert [arm["decisions"] for arm in other.experiments.show("a")["arms"]] == [0, 0]
    assert sum(arm["decisions"] for arm in one.experiments.show("a")["arms"]) == 20
