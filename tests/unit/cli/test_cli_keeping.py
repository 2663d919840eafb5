import json
import time
from contextlib import closing

import pytest

from router_sdk import Outcome, Router, Task
from router_sdk.store import Store
from router_sdk.store.coordination import add_intent, note_consumers


@pytest.fixture
def kept(desk):
    """A command line whose store has forty decisions with outcomes."""
    with Router(store=desk.store) as router:
        observed = [(Task(f"task {number}"), "billing", Outcome(quality=number / 40)) for number in range(40)]
        router.observe_batch(observed)
    return desk


def count(cli):
    return cli.json("status")["store"]["decisions"]


# -- snapshot and archive


def test_snapshot_says_up_to_where(kept):
    told = kept.json("snapshot")
    assert set(told["snapshots"].values()) == {told["head"]}
    assert told["broken"] == []
    assert f"up to event {told['head']}" in kept.run("snapshot").stdout


def test_snapshot_says_what_is_not_saved(kept, monkeypatch):
    monkeypatch.setenv("ROUTER_LEARNING", "false")
    with Router(store=kept.store) as router:
        router.observe("another", agent="billing", outcome=Outcome(success=True))
    assert "Not saved up to event" in kept.run("snapshot").stdout


def test_status_says_what_was_cut_off(kept):
    assert "Unfinished" not in kept.run("status").stdout
    with closing(Store(kept.store)) as store:
        store.writer.transact(lambda connection, seq: add_intent(connection, "forget", {"ids": []}))
    assert "Unfinished  forget of 20" in kept.run("status").stdout


@pytest.mark.parametrize("age", ["0h", "0d", "0.0w"])
def test_everything_of_an_age_is_archived(kept, age):
    told = kept.json("archive", "--older-than", age)
    assert (told["archived"], told["left"]) == (40, 0)
    (file,) = (kept.folder / "router.db.artifacts" / "archive").iterdir()
    assert str(file.parent) == told["folder"]
    assert count(kept) == 0
    assert kept.json("status")["statistics"]["total_examples"] == 40


def test_what_is_younger_stays(kept):
    assert kept.json("archive", "--older-than", "1.5h")["archived"] == 0
    assert kept.json("archive", "--older-than", "90d")["archived"] == 0
    assert kept.json("archive", "--older-than", "999999999d")["before"] == 0.0
    assert "Archived 0 decisions" in kept.run("archive", "--older-than", "999999999d").stdout
    assert kept.json("archive", "--before", "2001-01-31")["archived"] == 0
    assert "Archived 0 decisions" in kept.run("archive", "--before", "2001-01-31T12:00+01:00").stdout
    assert count(kept) == 40
    assert "Archived 40 decisions" in " ".join(kept.run("archive", "--before", "2999-12-31").stdout.split())


def test_the_log_is_brought_below_a_size(kept):
    assert "no more than 100 MB" in kept.run("archive", "--max-mb", "100").stdout
    told = kept.json("archive", "--max-mb", "0.01")
    assert told["archived"] > 0
    assert told["before"] <= time.time()


def test_archive_says_what_another_process_keeps(kept):
    with closing(Store(kept.store)) as store:
        store.writer.transact(lambda connection, seq: note_consumers(connection, "another", {"thompson": 3}))
    assert kept.json("archive", "--older-than", "0h")["left"] == 40
    assert "40 more stay" in kept.run("archive", "--older-than", "0h").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of them"),
        (["--older-than", "1d", "--before", "2020-01-01"], "one of them"),
        (["--older-than", "3m"], "such as 12h, 90d or 2w"),
        (["--older-than", "-1d"], "such as 12h"),
        (["--older-than", "9" * 400 + "w"], "such as 12h"),
        (["--older-than", "d"], "such as 12h"),
        (["--before", "yesterday"], "such as 2026-01-31"),
        (["--before", "2026-13-01"], "such as 2026-01-31"),
        (["--max-mb", "-1"], "--max-mb"),
    ],
)
def test_archive_says_what_it_does_not_understand(kept, arguments, words):
    assert words in kept.fault("archive", *arguments, code=2)["message"]
    assert count(kept) == 40


# -- backup and restore


def test_back_up_and_restore_elsewhere(kept):
    told = kept.json("backup", "backups/monday")
    assert (told["path"], told["decisions"], told["verified"], told["damaged"]) == ("backups/monday", 40, True, [])
    assert told["files"] > 0
    back = kept.json("restore", "backups/monday", "--store", "new.db")
    assert (back["path"], back["aside"], back["decisions"]) == (str(kept.folder / "new.db"), None, 40)
    assert kept.json("status", "--store", "new.db")["statistics"] == kept.json("status")["statistics"]


def test_people_are_told_what_happened(kept):
    said = " ".join(kept.run("backup", "monday").stdout.split())
    assert "Backed up 40 decisions and 40 outcomes to monday" in said
    assert "Replayed and found right." in said
    assert "Not replayed." in " ".join(kept.run("backup", "tuesday", "--no-verify").stdout.split())
    assert "is there already" in kept.fault("restore", "monday", code=2)["message"]
    said = " ".join(kept.run("restore", "monday", "--force").stdout.split())
    assert "Restored 40 decisions and 40 outcomes" in said
    (aside,) = kept.folder.glob("router.db.before-*[0-9]")
    assert "What was there is" in said
    assert kept.json("status", "--store", str(aside))["store"]["decisions"] == 40


def test_what_the_store_lost_is_named(kept):
    snapshot = next((kept.folder / "router.db.artifacts" / "snapshots").glob("thompson-*"))
    (snapshot / "manifest.json").unlink()
    told = kept.run("backup", "monday").stdout
    assert f"Damaged in the store already: snapshots/{snapshot.name}" in " ".join(told.split())


def test_a_restore_needs_no_router(kept, monkeypatch):
    kept.run("backup", "monday")
    monkeypatch.setenv("ROUTER_STRATEGIES", '["a strategy that is not installed here"]')
    assert kept.json("restore", "monday", "--store", "new.db")["decisions"] == 40


def test_faults_are_typed(kept):
    kept.run("backup", "monday")
    assert "not empty" in kept.fault("backup", "monday", code=2)["message"]
    assert "there is no store" in kept.fault("backup", "x", "--store", "none.db", code=1)["message"]
    assert kept.fault("restore", "nothing", "--store", "new.db", code=1)["type"] == "CorruptArtifactError"
    manifest = kept.folder / "monday" / "backup.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "schema_version": 99}))
    assert kept.fault("restore", "monday", "--store", "new.db", code=1)["type"] == "SchemaVersionError"
    manifest.unlink()
    assert "cut off" in kept.fault("restore", "monday", "--store", "new.db", code=1)["message"]
    assert ":memory:" in kept.fault("restore", "monday", "--store", ":memory:", code=2)["message"]
    with Router(store=kept.store) as router:
        router.flush()
        kept.run("backup", "tuesday")
        assert "open in a process" in kept.fault("restore", "tuesday", "--force", code=1)["message"]


# -- pin and unpin


@pytest.mark.usefixtures("words_installed")
def test_pin_a_version_and_let_it_go(cli, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    monkeypatch.setenv("ROUTER_FIT_EXECUTOR", "thread")
    lines = [{"text": f"{name} {number}", "label": name} for number in range(20) for name in ("billing", "sales")]
    (cli.folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cli.run("pretrain", "--data", "rows.jsonl")
    assert cli.json("pin", "words") == {"strategy": "words", "version": 1, "pinned": True}
    assert cli.json("versions")["versions"][0]["aliases"] == ["champion", "pinned"]
    assert cli.json("unpin", "words") == {"strategy": "words", "pinned": False}
    assert cli.json("versions")["versions"][0]["aliases"] == ["champion"]
    cli.run("rollback", "words")
    assert "Version 1 of words serves, and stays." in cli.run("pin", "words", "1").stdout
    assert cli.json("status")["strategies"][0]["pinned"]
    assert "words v1 (pinned)" in cli.run("status").stdout
    assert "1 came to serve, 0 of them moved an encoder, 0 refused" in cli.run("status").stdout
    assert "that passes the gate" in cli.run("unpin", "words").stdout
    assert "no version 9" in cli.fault("pin", "words", "9", code=2)["message"]
    assert cli.fault("unpin", "nobody", code=2)["type"] == "UnknownStrategyError"


@pytest.mark.usefixtures("words_installed")
def test_what_was_never_fitted_can_be_pinned_where_a_fit_could_replace_it(desk, monkeypatch):
    told = desk.fault("pin", "thompson", code=1)
    assert told["type"] == "NotTrainableError"
    assert "nothing to pin" in told["message"]
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words"]')
    assert "words as it is without any fit serves, and stays." in desk.run("pin", "words").stdout
    assert desk.json("status")["strategies"][0]["pinned"]


# -- what teaches nothing


def test_go_back_to_a_position_and_lift_it_again(desk):
    head = desk.json("status")["learner"]["head"]
    for _ in range(3):
        decision = desk.json("route", "refund me")["decision_id"]
        desk.run("record", decision, "--quality", "0.1")
    told = desk.json("rollback", "thompson", "--to-seq", str(head))
    assert (told["strategy"], told["version"]) == ("thompson", None)
    number = told["quarantine"]
    (listed,) = desk.json("versions")["quarantines"]
    assert (listed["number"], listed["strategy"], listed["from_seq"], listed["lifted_at"]) == (
        *(number, "thompson", head),
        None,
    )
    assert f"{number}: thompson leave out {head}" in " ".join(desk.run("status").stdout.split())
    assert "rollback" in desk.run("versions").stdout
    assert desk.json("lift", str(number), "--reason", "it was right") == {"lifted": number}
    assert desk.json("status")["quarantines"] == []
    assert desk.json("versions")["quarantines"][0]["lifted_because"] == "it was right"
    assert "is in force" in desk.fault("lift", str(number), code=2)["message"]
    assert "--to-seq" in desk.run("rollback", "--help").stdout
    assert desk.fault("rollback", "thompson", "--to-seq", "f" * 32, code=2)["type"] == "UnknownDecisionError"
