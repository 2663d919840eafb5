"""A backup step by step: what belongs to it, what happens when that changes meanwhile, and what is refused."""

import gzip
import json
import os
import shutil
import sqlite3
import stat
import sys
import time
from contextlib import closing

import pytest

from router_sdk.errors import (
    CorruptArtifactError,
    InvalidInputError,
    RouterError,
    SchemaVersionError,
    StoreUnavailableError,
)
from router_sdk.learning.fold import performance_fold
from router_sdk.learning.folding import Folding
from router_sdk.learning.performance import Performance
from router_sdk.learning.verification import verify_replay
from router_sdk.rewards import OutcomeReward, RewardMark
from router_sdk.store import Store
from router_sdk.store import backup as making
from router_sdk.store.artifacts import MANIFEST as ARTIFACT_MANIFEST
from router_sdk.store.artifacts import sha256, write_artifact
from router_sdk.store.backup import BESIDE, LOG, MANIFEST, backup
from router_sdk.store.coordination import note_consumers, pending_intents
from router_sdk.store.erasure import erase_session
from router_sdk.store.registry import add_version
from router_sdk.store.restore import restore
from router_sdk.store.retention import PIECE, begin_archive, go_on_archiving

REWARD = OutcomeReward()
MARK = RewardMark(REWARD)


def save_snapshot(log, cursor=5, name="tally"):
    log.store.snapshots.save(name, "mark", cursor, lambda folder: (folder / "state.json").write_text("[]") and None)


def fit_version(log, folder="tally-one"):
    write_artifact(log.store.folder / "versions" / folder, lambda inner: (inner / "weights").write_bytes(b"w") and None)
    fields = {"kind": "fit", "parent": None, "upto": 1, "samples": 1, "passed": True, "reason": "it passed"}
    settings = {"settings": {}, "metrics": {}, "fine_tuned": False, "data_hash": "d", "unless_forgotten_after": 0}
    add_version(log.writer, "tally", folder=folder, **fields, **settings)
    reports = log.store.folder / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "tally-1.json").write_text("{}")


@pytest.fixture
def full(log):
    """A store with something of every kind beside its log."""
    for number in range(6):
        log.tell(log.decide(at=float(number + 1)), quality=number / 10)
    log.archive(3.0, log.tail.head())
    save_snapshot(log, log.tail.head())
    fit_version(log)
    (log.store.folder / "privacy.key").write_bytes(b"k" * 32)
    for name in ("parts/held", "fits/tally-1", "exports", "damaged/old", "strategies/bert", "versions/.draft-x"):
        (log.store.folder / name).mkdir(parents=True)
        (log.store.folder / name / "file").write_text("not in a backup")
    return log


@pytest.fixture
def target(tmp_path):
    return tmp_path / "backups" / "monday"


@pytest.fixture
def made(full, target):
    """A backup of it."""
    backup(full.store, target)
    return target


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def after_the_log(monkeypatch, happen):
    """Do something right after the log was copied, and before anything beside it is; returns how often it was."""
    copy_log, copied = making._copy_log, []

    def copy(store, path):
        copy_log(store, path)
        copied.append(path)
        happen(len(copied))

    monkeypatch.setattr(making, "_copy_log", copy)
    return copied


# -- what belongs to it


def test_a_backup_holds_what_the_log_names_and_nothing_else(full, target):
    report = backup(full.store, target, lambda copied: None)
    kinds = {name.split("/")[1] if "/" in name else name for name in names_in(target)}
    assert kinds == {LOG, MANIFEST, "snapshots", "versions", "reports", "archive", "privacy.key"}
    assert names_in(target) == {*report.files, MANIFEST}
    assert (report.decisions, report.outcomes, report.head) == (4, 4, full.tail.head())
    assert (report.verified, report.damaged) == (True, ())
    for name, mark in report.files.items():
        assert (sha256(target / name), (target / name).stat().st_size) == (mark.sha256, mark.size)
    assert {**json.loads((target / MANIFEST).read_text()), "files": len(report.files)} == {
        name: value if name != "damaged" else [] for name, value in report.to_dict().items() if name != "bytes"
    }


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions and links")
def test_a_backup_is_its_owner_s_alone_and_shares_no_file(full, target, request):
    target.mkdir(parents=True)
    target.chmod(0o755)
    mask = os.umask(0)
    request.addfinalizer(lambda: os.umask(mask))
    backup(full.store, target)
    for path in [target, *target.rglob("*")]:
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or found.st_nlink == 1
    restored = restore(target, target.with_name("new.db")).path
    beside = restored.with_name("new.db.artifacts")
    for path in [restored, beside, *beside.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_what_is_written_while_the_log_is_copied_waits_for_nobody_and_is_not_in_it(full, target):
    before = full.decide()

    def goes_on(copied):
        full.decide()
        assert rows(copied.path, "SELECT count(*) FROM decisions")[0][0] == 5

    assert backup(full.store, target, goes_on).decisions == 5
    assert (before.decision_id,) in rows(target / LOG, "SELECT decision_id FROM decisions")
    assert full.query("SELECT count(*) FROM decisions") == [(6,)]


def test_a_store_that_is_only_looked_at_can_be_backed_up(full, store_path, target):
    with closing(Store(store_path, read_only=True)) as looked_at:
        assert backup(looked_at, target).decisions == 4


@pytest.mark.parametrize("kind", ["a file", "not empty"])
def test_the_target_is_a_folder_of_its_own(full, tmp_path, kind):
    target = tmp_path / "there"
    if kind == "a file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    with pytest.raises(InvalidInputError):
        backup(full.store, target)
    assert (target if kind == "a file" else target / "mine").read_text() == "mine"


# -- what changes meanwhile


def renew_snapshots(log, cursor):
    save_snapshot(log, cursor)
    log.store.snapshots.discard(log.store.snapshots.before(cursor))


def test_where_newer_snapshots_took_the_place_of_copied_ones_it_is_begun_again(full, target, monkeypatch):
    attempts = after_the_log(monkeypatch, lambda count: renew_snapshots(full, 50) if count == 1 else None)
    report = backup(full.store, target)
    assert len(attempts) == 2
    folders = {folder for (folder,) in rows(target / LOG, "SELECT folder FROM snapshots")}
    assert {path.name for path in (target / BESIDE / "snapshots").iterdir()} == folders
    assert report.damaged == ()


def test_what_changes_without_end_is_given_up_and_nothing_is_left(full, target, monkeypatch):
    after_the_log(monkeypatch, lambda count: renew_snapshots(full, 50 * count))
    with pytest.raises(StoreUnavailableError, match="faster than it can be copied"):
        backup(full.store, target)
    assert not target.exists()


def test_what_the_store_itself_lost_is_named_and_the_rest_is_there(full, target):
    shutil.rmtree(full.store.folder / "versions" / "tally-one")
    (snapshot,) = (full.store.folder / "snapshots").iterdir()
    (snapshot / "state.json").write_text("[1]")
    (archive,) = (full.store.folder / "archive").iterdir()
    archive.write_bytes(archive.read_bytes()[:-9])
    report = backup(full.store, target, lambda copied: None)
    assert set(report.damaged) == {"versions/tally-one", f"snapshots/{snapshot.name}", f"archive/{archive.name}"}
    assert not (target / BESIDE / "versions" / "tally-one").exists()
    assert restore(target, target.with_name("new.db")).report == report


def test_a_name_in_the_log_that_leads_elsewhere_is_not_followed(full, target, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    full.writer.transact(
        lambda connection, seq: connection.execute("UPDATE model_versions SET folder = '../../secret'") and None
    )
    report = backup(full.store, target)
    assert report.damaged == ("versions/../../secret",)
    assert not any("secret" in name for name in names_in(target))


def test_of_an_archive_that_grows_the_part_is_copied_whose_rows_are_not_in_the_log(log, target, monkeypatch):
    ids = {log.decide(at=float(number + 1)).decision_id for number in range(3 * PIECE)}
    number = begin_archive(log.writer, 1e6, log.tail.head())

    def pieces(count):
        (intent,) = log.store.reader.query(pending_intents)
        left = iter([True] * (count - 1))
        go_on_archiving(log.writer, log.store.engine, intent, lambda: next(left, False))

    pieces(1)
    attempts = after_the_log(monkeypatch, lambda count: pieces(1))
    backup(log.store, target)
    assert (number, len(attempts)) == (1, 1)
    path = restore(target, target.with_name("new.db")).path
    with closing(Store(path)) as store:
        (intent,) = store.reader.query(pending_intents)
        moved, file = go_on_archiving(store.writer, store.engine, intent)
    with gzip.open(file, "rt") as lines:
        archived = [row["decision_id"] for row in map(json.loads, lines) if row["table"] == "decisions"]
    assert moved == len(archived) == 3 * PIECE
    assert set(archived) == ids


def test_an_archive_that_is_begun_meanwhile_begins_the_backup_again(full, target, monkeypatch):
    full.decide()  # so that its name is another one
    attempts = after_the_log(monkeypatch, lambda count: full.archive(5.0, full.tail.head()) if count == 1 else None)
    assert backup(full.store, target).decisions == 3
    assert len(attempts) == 2
    in_log = {decision for (decision,) in rows(target / LOG, "SELECT decision_id FROM decisions")}
    for path in (target / BESIDE / "archive").iterdir():
        with gzip.open(path, "rt") as lines:
            assert not in_log & {row.get("decision_id") for row in map(json.loads, lines)}


# -- verification


def snapshot_figures(log):
    """A snapshot of the figures as the learner saves it, and its file."""
    with closing(Folding(log.store, [performance_fold(Performance(), MARK)], MARK, enabled=True)) as folding:
        folding.to_head("learn", 100, lambda: None, lambda seconds: None)
        folding.save()
    (file,) = (log.store.folder / "snapshots").glob("performance-*/performance.json")
    return file


def verified(log, target):
    return backup(log.store, target, lambda copied: verify_replay(copied, REWARD))


def test_the_replay_agrees_with_what_was_learnt(log, target):
    for number in range(20):
        log.tell(log.decide(agent="ab"[number % 2]), quality=number / 20)
    snapshot_figures(log)
    log.tell(log.decide(), feedback=1.0)
    assert verified(log, target).verified


def test_a_snapshot_that_holds_something_else_than_the_log_is_found(log, target):
    log.tell(log.decide(), quality=0.5)
    file = snapshot_figures(log)
    state = json.loads(file.read_text())
    state["judged"][0] += 1
    file.write_text(json.dumps(state))
    (file.parent / ARTIFACT_MANIFEST).write_text(json.dumps({"sha256": {file.name: sha256(file)}}))
    with pytest.raises(CorruptArtifactError, match="does not hold what the log gives"):
        verified(log, target)
    assert not target.exists()
    assert not backup(log.store, target).verified


def test_where_the_past_was_archived_the_snapshot_alone_must_be_there(log, target, caplog):
    log.tell(log.decide(at=1.0), quality=0.5)
    file = snapshot_figures(log)
    log.archive(2.0, log.tail.head())
    assert verified(log, target).verified
    file.write_text("{}")
    with pytest.raises(CorruptArtifactError, match="their past was archived"):
        verified(log, target.with_name("tuesday"))
    assert "not usable" in caplog.text


def test_examples_that_the_tables_do_not_hold_are_found(log, target, monkeypatch):
    log.tell(log.decide(), quality=0.5)
    learn = Performance.learn_columns

    def twice(figures, columns):
        learn(figures, columns)
        learn(figures, columns)

    monkeypatch.setattr(Performance, "learn_columns", twice)
    with pytest.raises(CorruptArtifactError, match="gives 2 examples, and the log holds 1"):
        verified(log, target)


def test_a_damaged_log_is_no_backup(log, target, monkeypatch):
    for _ in range(200):
        log.decide()

    def spoil(count):
        path = target / LOG
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 4096)

    after_the_log(monkeypatch, spoil)
    with pytest.raises((CorruptArtifactError, StoreUnavailableError)):
        backup(log.store, target, lambda copied: None)
    assert not target.exists()


# -- restoring


def test_a_restored_log_begins_another_history_and_finishes_what_was_begun(full, target, tmp_path):
    full.writer.transact(lambda connection, seq: note_consumers(connection, "somebody", {"tally": 3}))
    intent, _ = erase_session(full.writer, "nobody", full.store.privacy)
    backup(full.store, target)
    first, second = (restore(target, tmp_path / name).path for name in ("first.db", "second.db"))
    assert rows(first, "SELECT * FROM consumers") == []
    assert rows(first, "SELECT id, kind FROM intents") == [(intent, "forget")]
    epochs = {rows(path, "SELECT value FROM meta WHERE name = 'epoch'")[0] for path in (first, second)}
    assert len(epochs) == 2
    assert rows(first, "SELECT * FROM decisions") == full.query("SELECT * FROM decisions")
    assert names_in(first.with_name("first.db.artifacts")) == {
        name.removeprefix(f"{BESIDE}/") for name in names_in(target) if name.startswith(BESIDE)
    }
    assert not list(tmp_path.glob(".draft*"))


def rewrite(folder, change):
    told = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(change(told) or told))


def tamper(folder, how):
    report = folder / BESIDE / "reports" / "tally-1.json"
    name = report.relative_to(folder).as_posix()

    def renamed(new):
        def change(told):
            told["files"][new] = told["files"].pop(name)

        return change

    def link():
        report.rename(folder.with_name("elsewhere.json"))
        report.symlink_to(folder.with_name("elsewhere.json"))

    def link_folder():
        report.parent.rename(folder.with_name("elsewhere"))
        report.parent.symlink_to(folder.with_name("elsewhere"))

    def flip():
        content = bytearray((folder / LOG).read_bytes())
        content[-1] ^= 1
        (folder / LOG).write_bytes(content)

    {
        "a changed byte": flip,
        "a changed file": lambda: report.write_text("[]"),
        "a removed file": report.unlink,
        "an added file": lambda: (folder / BESIDE / "extra").write_text("x"),
        "a file beside": lambda: [
            (folder / "extra").write_bytes(report.read_bytes()),
            rewrite(folder, lambda told: told["files"].update({"extra": told["files"][name]})),
        ],
        "no log": lambda: [(folder / LOG).unlink(), rewrite(folder, lambda told: told["files"].pop(LOG) and None)],
        "a name that leads out": lambda: rewrite(folder, renamed("../elsewhere.json")),
        "a name that leads out and back": lambda: rewrite(folder, renamed(f"{BESIDE}/../../{folder.name}/{name}")),
        "an absolute name": lambda: rewrite(folder, renamed(str(report))),
        "a symbolic link": link,
        "a linked folder": link_folder,
        "no manifest": (folder / MANIFEST).unlink,
        "half a manifest": lambda: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-9]),
    }[how]()


TAMPERED = (
    *("a changed byte", "a changed file", "a removed file", "an added file", "a file beside", "no log"),
    *("a name that leads out", "a name that leads out and back", "an absolute name", "a symbolic link"),
    *("a linked folder", "no manifest", "half a manifest"),
)


@pytest.mark.parametrize("how", TAMPERED)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_touched(made, how, tmp_path):
    (tmp_path / "elsewhere.json").write_text("{}")
    tamper(made, how)
    place = tmp_path / "place"
    place.mkdir()
    (place / "router.db").write_text("what was there")
    before = names_in(tmp_path)
    with pytest.raises(CorruptArtifactError):
        restore(made, place / "router.db", force=True)
    assert names_in(tmp_path) - before <= {"place/router.db-lock"}
    assert (place / "router.db").read_text() == "what was there"


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "null", "3", '"x"', "{}", '{"format": 1}', "[" * 100_000, "\xff", ""),
        *('{"files": {"router.db": 3}}', '{"files": []}', '{"files": {"router.db": {"sha256": "x", "size": -1}}}'),
    ],
)
def test_json_that_is_no_manifest_is_refused(made, text, tmp_path):
    (made / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(CorruptArtifactError, match=MANIFEST):
        restore(made, tmp_path / "new.db")


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", 2), ("at", "today"), ("at", None), ("decisions", 1.5), ("head", True), ("more", 1), ("damaged", "x")],
)
def test_a_field_of_another_kind_is_refused(made, field, value, tmp_path):
    rewrite(made, lambda told: told.update({field: value}))
    with pytest.raises(CorruptArtifactError, match=field):
        restore(made, tmp_path / "new.db")


def test_a_newer_release_s_backup_says_so(made, tmp_path):
    rewrite(made, lambda told: told.update(schema_version=99))
    with pytest.raises(SchemaVersionError, match="upgrade"):
        restore(made, tmp_path / "new.db")


def test_what_is_there_is_moved_aside_and_only_if_asked(made, full, tmp_path, open_log):
    path = tmp_path / "place" / "router.db"
    path.parent.mkdir()
    other = open_log(path)
    mine = other.decide()
    save_snapshot(other)
    other.close()
    with pytest.raises(InvalidInputError, match="is there already"):
        restore(made, path)
    assert rows(path, "SELECT decision_id FROM decisions") == [(mine.decision_id,)]
    done = restore(made, path, force=True)
    assert rows(path, "SELECT count(*) FROM decisions") == [(4,)]
    assert done.aside is not None
    assert done.aside.name.startswith("router.db.before-")
    with closing(Store(done.aside, read_only=True)) as aside:
        assert aside.reader.decision(mine.decision_id) is not None
        assert aside.snapshots.restore("tally", lambda cursor: "mark", lambda folder: None) == 5
    again = restore(made, path, force=True)
    assert again.aside != done.aside


@pytest.mark.parametrize("part", ["router.db-wal", "router.db.artifacts"])
def test_a_part_of_a_store_is_a_store_that_is_there(made, tmp_path, part):
    """SQLite would take a write-ahead log for the new database's."""
    path = tmp_path / "place" / "router.db"
    path.parent.mkdir()
    (path.parent / part).mkdir() if part.endswith("artifacts") else (path.parent / part).write_text("old")
    with pytest.raises(InvalidInputError, match="is there already"):
        restore(made, path)
    done = restore(made, path, force=True)
    assert os.path.lexists(done.aside.with_name(done.aside.name + part.removeprefix("router.db")))
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_damaged_database_is_moved_aside_like_any_other(made, tmp_path):
    path = tmp_path / "router.db.old"
    path.write_bytes(b"no database " * 1_000)
    aside = restore(made, path, force=True).aside
    assert aside.read_bytes() == b"no database " * 1_000


@pytest.mark.parametrize("options", [{}, {"read_only": True}])
def test_a_store_that_somebody_has_open_is_left_alone(made, tmp_path, open_log, options):
    path = tmp_path / "open" / "router.db"
    path.parent.mkdir()
    mine = open_log(path)
    mine.decide()
    if options:
        mine.close()
    with closing(Store(path, **options)) as store:
        store.reader.counts()
        with pytest.raises(StoreUnavailableError, match="is open in a process"):
            restore(made, path, force=True)
    assert rows(path, "SELECT count(*) FROM decisions") == [(1,)]
    if not options:
        mine.decide()


def test_places_where_nothing_can_be_restored_to(made, tmp_path):
    for place, error in (
        (tmp_path, StoreUnavailableError),
        (tmp_path / "no" / "folder.db", StoreUnavailableError),
        (made / "router.db", InvalidInputError),
        (made / "new.db", InvalidInputError),
    ):
        with pytest.raises(error):
            restore(made, place, force=True)
    with pytest.raises(CorruptArtifactError, match="no whole backup"):
        restore(tmp_path / "nowhere", tmp_path / "new.db")


def test_a_fault_while_writing_leaves_no_half_of_either(full, target, tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    backup(full.store, target)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        for fails in (
            lambda: backup(full.store, tmp_path / "second"),
            lambda: restore(target, tmp_path / "new.db"),
        ):
            with pytest.raises(RouterError, match="No space left"):
                fails()
    assert not (tmp_path / "second").exists()
    assert {path.name for path in tmp_path.iterdir() if "new" in path.name or "draft" in path.name} == {"new.db-lock"}
    started = time.time()
    assert restore(target, tmp_path / "new.db").report.at <= started
