"""Files from elsewhere are data: they are read with care, lead nowhere, run nothing, and are left as they were."""

import json
import os
import shutil
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest
from spoilt_store import (
    ARCHIVED,
    EXAMPLES,
    SESSION,
    beside,
    database,
    dead_database,
    execute,
    fill,
    interrupt_a_fit,
    lay_out,
    live,
    living_database,
    open_router,
    put_another_state,
    seen,
    teach,
)
from typer.testing import CliRunner

from router_sdk import Outcome, Task, erasing
from router_sdk.cli.app import app
from router_sdk.errors import NotAStoreError, StoreUnavailableError
from router_sdk.store.artifacts import MANIFEST
from router_sdk.store.schema import APPLICATION_ID, SCHEMA_VERSION

OURS = ["agents", "agent_sets", "decisions", "outcomes", "payloads", "vectors", "forgotten", "positions"]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir(mode=0o755)
    return tmp_path / "store" / "r.db"


@pytest.fixture(scope="module")
def old_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    fill(folder / "r.db")
    return folder


@pytest.fixture
def spoilt(old_store, store):
    """A store to spoil: it has versions, snapshots, an archive and a session."""
    shutil.copytree(old_store, store.parent, dirs_exist_ok=True)
    return store


@pytest.fixture
def outside(tmp_path):
    """What is not the store's stays as it is, whatever the test does."""

    def look():
        return {name: one for name, one in seen(tmp_path).items() if not name.startswith(("store/r.db", "away"))}

    lay_out(tmp_path, tmp_path / "store", tmp_path / "elsewhere")
    (tmp_path / "away").mkdir()
    before = look()
    yield tmp_path
    assert look() == before


def router_command(*arguments, store, code=0):
    result = CliRunner().invoke(app, [*arguments, "--store", str(store)], terminal_width=120)
    assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result


# -- who may read


@pytest.fixture
def nobodys_mask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.slow
@pytest.mark.usefixtures("words_installed", "nobodys_mask")
@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_files_are_private(store, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    settings = {"strategies": ["words", "thompson"], "privacy": "redacted"}
    with open_router(store, **settings) as router:
        teach(router)
        router.record(router.route(Task("refund me", session_id="s")), Outcome(success=True))
        assert router.models.retrain(wait=True).state == "promoted"
        router.snapshot()
        router.examples.export(out / "examples.jsonl")
        router.backup(out / "backup")
        assert router.forget("s") == 1
        assert router.archive(2e9) > 0
    with open_router(store, **settings, fit_executor="process") as router:
        teach(router, start=100)
        interrupt_a_fit(router, store)
        open_files = [*store.parent.rglob("*"), *out.rglob("*")]
        assert [path for path in open_files if path.stat().st_mode & 0o77] == []
    router_command("export", str(out / "told.csv"), "--format", "csv", store=store)
    made = [*store.parent.rglob("*"), *out.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    names = {path.name for path in made}
    kinds = {"versions", "snapshots", "archive", "reports", "exports", "fits", "checkpoints", "backup", "told.csv"}
    assert kinds | {"r.db", "r.db-lock", "upkeep.lock", "fit.lock", "privacy.key", MANIFEST} <= names


# -- names and paths


NAMES = [
    ["../../evil", "{0}/elsewhere/evil", ".."],
    ["../evil", "", "a\0b"],
    [".", "evil/..", "x" * 400],
]


@pytest.mark.slow
@pytest.mark.parametrize("names", NAMES, ids=["up", "none", "here"])
def test_a_path_in_a_table_leads_nowhere(spoilt, outside, names, caplog, monkeypatch):
    monkeypatch.setattr(erasing, "_KILLED_S", 0.0)  # what the names led to before is nobody's now
    table = outside / "away" / "table.csv"
    table.write_text("text,label\nan offer,sales\n")
    state = {"path": str(table), "bytes": table.stat().st_size, "changed_ns": table.stat().st_mtime_ns}
    intent = "INSERT INTO intents (at, kind, body) VALUES (1, ?, ?)"
    for number, name in enumerate((name.format(outside) for name in names), start=1):
        archive = {"before": 2e9, "upto": 10**9, "after": 0, "file": name, "bytes": 0, "count": 0}
        execute(
            spoilt,
            ("UPDATE model_versions SET folder = ? WHERE version = ?", (name, number)),
            ("UPDATE snapshots SET folder = ? WHERE strategy = 'words'", (name,)),
            ("INSERT INTO snapshots VALUES (?, ?, 1, 'x', ?, 1)", (76 + number, name, name)),
            (intent, ("archive", json.dumps(archive))),
            (intent, ("import", json.dumps({"key": name, **state, "mapping": None}))),
            (intent, ("promote", json.dumps({"strategy": name, "version": 1, "after": 0, "reason": "?"}))),
        )
    with open_router(spoilt, keep_versions=1) as router:
        assert router.status()["strategies"][0]["model_version"] is None  # none of the old ones can be read
        router._parts.upkeep._work(False)
        live(router, outside / "away" / "backup")
        router._parts.upkeep._work(False)
        assert router.status()["upkeep"]["unfinished"] == []  # what leads nowhere keeps nothing else waiting
        teach(router, start=2_000)
        assert router.models.retrain(wait=True).version is not None
        assert router.statistics()["total_examples"] >= EXAMPLES + 2 * 18
    assert "is no name of a folder beside the store" in caplog.text


@pytest.mark.parametrize(
    "linked",
    ["-wal", "-shm", "-journal", "-lock", *(f".artifacts/{kind}" for kind in ("versions", "snapshots", "parts"))],
)
def test_a_link_beside_a_store_is_not_followed(spoilt, outside, linked):
    target = outside / "elsewhere" if "/" in linked else outside / "diary.txt"
    link = Path(f"{spoilt}{linked}")
    shutil.rmtree(link, ignore_errors=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    for settings in ({}, {"read_only": True}):
        with pytest.raises(StoreUnavailableError, match="is a symbolic link"):
            open_router(spoilt, **settings)


def test_a_link_in_place_of_a_version_or_an_archive_is_not_followed(spoilt, outside):
    for kind in ("versions", "snapshots", "archive"):
        for path in beside(spoilt, kind).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.symlink_to(outside / "elsewhere" / ("evil" if kind != "archive" else "diary.txt"))
    body = {"before": 2e9, "upto": 10**9, "after": 0, "file": path.name, "bytes": 4, "count": 0}
    execute(spoilt, ("INSERT INTO intents (at, kind, body) VALUES (1, 'archive', ?)", (json.dumps(body),)))
    with open_router(spoilt, keep_versions=1) as router:
        router._parts.upkeep._work(False)
        live(router, outside / "away" / "backup")


@pytest.mark.parametrize("form", ["jsonl", "csv", "chatml", "gibberish"])
def test_a_list_of_exports_reaches_nothing_but_exports(spoilt, outside, form):
    with open_router(spoilt) as router:
        (decision_id, *_) = (one.decision_id for one in router.examples if one.task.session_id == SESSION)
        for name in ("diary.txt", "evil/words.json", "evil", "none"):
            note = {"path": str(outside / name), "format": form, "decisions": [decision_id]}
            beside(spoilt, "exports").mkdir(exist_ok=True)
            beside(spoilt, "exports", name.replace("/", "-") + ".json").write_text(json.dumps(note))
        assert router.forget(SESSION) == 6


def test_an_interrupted_fit_leads_nowhere(spoilt, outside):
    with open_router(spoilt) as router:
        teach(router, start=500)
        interrupt_a_fit(router, spoilt)
    fits = beside(spoilt, "fits", "words-fit")
    shutil.rmtree(fits / "checkpoints")
    (fits / "checkpoints").symlink_to(outside / "elsewhere")
    with open_router(spoilt) as router:
        interrupt_a_fit(router, spoilt)  # another one, from its beginning


# -- what is no store


FOREIGN = {
    "database": database("CREATE TABLE x (a)", "INSERT INTO x VALUES (1)"),
    "with a mark": database("PRAGMA application_id = 77", "CREATE TABLE x (a)"),
    "with a mark alone": database("PRAGMA application_id = 77"),
    "some of our tables": database(*(f"CREATE TABLE {name} (a)" for name in OURS[:5])),
    "all our tables": database(*(f"CREATE TABLE {name} (a)" for name in OURS)),
    "living": living_database,
    "dead": dead_database,
    "text": lambda path: path.write_text("dear diary, " * 1_000) and None,
    "a word": lambda path: path.write_text("dear") and None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_and_left_as_it_was(kind, store):
    kept = FOREIGN[kind](store)
    store.chmod(0o755 if store.is_dir() else 0o644)

    def look():
        return {name: one for name, one in seen(store.parent).items() if kept is None or name != "r.db-shm"}

    before = look()  # a living one's -shm apart, where every reader says that it reads
    refused = StoreUnavailableError if store.is_dir() else NotAStoreError
    for settings in ({}, {"privacy": "hmac"}, {"read_only": True}):
        with pytest.raises(refused, match=r"r\.db is (no database|the database of another program|a folder)") as told:
            open_router(store, **settings)
        assert "name a" in str(told.value) or settings.get("read_only")
        assert look() == before
    router_command("status", store=store, code=1)
    router_command("route", "some text", store=store, code=1)
    assert look() == before
    if kept is not None:
        assert kept.execute("SELECT * FROM x").fetchall() == [(1,)]
        kept.close()


def test_an_empty_file_becomes_a_store(store):
    store.touch()
    with open_router(store) as router:
        router.record(router.route("refund"), Outcome(success=True))
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


# -- what is damaged


def rewritten(change):
    def spoil(folder):
        told = json.loads((folder / MANIFEST).read_text())["sha256"]
        (folder / MANIFEST).write_text(json.dumps(change(told)))

    return spoil


def replaced(make):
    def spoil(folder):
        (folder / MANIFEST).unlink()
        make(folder / MANIFEST)

    return spoil


def enormous(path):
    with path.open("wb") as file:
        file.truncate(1 << 43)


def linked_manifest(folder):
    shutil.copy(folder / MANIFEST, folder.with_name("right.json"))
    replaced(lambda path: path.symlink_to(folder.with_name("right.json")))(folder)


WRONG = {
    "digest": rewritten(lambda told: {"sha256": dict.fromkeys(told, "0" * 64)}),
    "missing file": lambda folder: next(path for path in folder.iterdir() if path.name != MANIFEST).unlink(),
    "more than there is": rewritten(lambda told: {"sha256": {**told, "more.json": "0" * 64}}),
    "less than there is": rewritten(lambda told: {"sha256": dict(list(told.items())[1:])}),
    "a path": rewritten(lambda told: {"sha256": {**told, "../../../../diary.txt": "0" * 64, "/etc/passwd": "0"}}),
    "a list": rewritten(lambda told: [told]),
    "a list of files": rewritten(lambda told: {"sha256": list(told)}),
    "another kind": rewritten(lambda told: {"format": 1, "files": told}),
    "numbers": rewritten(lambda told: {"sha256": dict.fromkeys(told, 7)}),
    "null": rewritten(lambda told: None),
    "deep": replaced(lambda path: path.write_text("[" * 200_000)),
    "a folder": replaced(lambda path: path.mkdir()),
    "a link": linked_manifest,
    "enormous": replaced(enormous),
    "another state": put_another_state,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_manifest_does_not_stop_the_start(wrong, spoilt, caplog):
    with closing(sqlite3.connect(spoilt)) as connection:
        (served,) = connection.execute("SELECT folder FROM model_versions WHERE version = 3").fetchone()
        newest = connection.execute("SELECT folder, max(cursor) FROM snapshots GROUP BY strategy").fetchall()
    for folder in (beside(spoilt, "versions", served), *(beside(spoilt, "snapshots", name) for name, _ in newest)):
        WRONG[wrong](folder)
    with open_router(spoilt) as router:
        assert router.statistics()["total_examples"] == EXAMPLES
        assert sum(one.executions for one in router.agent_performance()) == EXAMPLES
        assert (router.route("refund").agent, router.route("refund").model_version) == ("billing", 2)
        router._parts.promoter._again_at = 0.0
        router._parts.learner.submit(router._parts.promoter.follow).result()
        told = router.status()["strategies"][0]
        assert told["model_version"] == 2
        assert "version 3 cannot be served here" in told["behind"]
        aside = {path.name.rpartition("-")[0] for path in beside(spoilt, "damaged").iterdir()}
        assert f"versions-{served}" in aside
        assert f"snapshots-{newest[0][0]}" in aside or wrong == "another state"  # another release may read it
        assert "is damaged, and was set aside" in caplog.text


# -- the current folder


@pytest.mark.slow
@pytest.mark.usefixtures("words_installed")
def test_workers_import_nothing_from_the_current_folder(store, tmp_path, monkeypatch):
    mark, trap = tmp_path / "mark", tmp_path / "trap"
    trap.mkdir()
    for name in (
        "json",
        "numpy",
        "sqlite3",
        "pluggy",
        "pydantic",
        "router_sdk",
        "router_sdk_thompson",
        "sitecustomize",
    ):
        (trap / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('{name} ')\nraise ImportError('a trap')\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with open_router(store, ["words", "thompson"], fit_executor="process") as router:
        teach(router, 3)
        monkeypatch.chdir(trap)
        monkeypatch.setenv("PYTHONPATH", os.pathsep + os.environ["PYTHONPATH"])  # as a script adds to what is not set
        assert router.models.retrain(wait=True).state == "promoted"
    assert not mark.exists(), mark.read_text()


# -- looking


@pytest.mark.slow
@pytest.mark.usefixtures("words_installed")
@pytest.mark.parametrize("state", ["closed", "open", "damaged", "read-only"])
def test_looking_changes_nothing(state, spoilt, tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTER_STRATEGIES", '["words", "thompson"]')
    router = open_router(spoilt) if state == "open" else None
    if state == "damaged":
        for manifest in beside(spoilt).glob("*/*/" + MANIFEST):
            manifest.write_text("[]")
    if state == "read-only":
        for path in (*beside(spoilt).rglob("*"), beside(spoilt), spoilt, spoilt.parent):
            path.chmod(0o500 if path.is_dir() else 0o400)
        if os.access(spoilt.parent, os.W_OK):
            pytest.skip("root may write everywhere")
    target = tmp_path / "examples.jsonl"

    def look():
        found = seen(spoilt.parent).items()  # of a living process, SQLite's side files apart, which are its own
        return {name: one for name, one in found if router is None or name not in ("r.db-shm", "r.db-wal")}

    before = look()
    for command in (["status"], ["versions", "words"], ["agents", "list"], ["export", "-"]):
        router_command(*command, store=spoilt)
        assert look() == before, command
    router_command("report", "words", "--out", str(tmp_path / "page.html"), store=spoilt)
    router_command("report", "words", "7", store=spoilt, code=2)
    assert look() == before
    router_command("export", str(target), store=spoilt)
    after = look()
    more = {name for name in after if after[name] != before.get(name)}
    assert before.keys() <= after.keys()
    if state != "read-only":  # where it is, for forget
        (note,) = (json.loads(after[name][2]) for name in more if after[name][2] is not None)
        assert note["path"] == str(target)
        assert all("r.db.artifacts/exports" in name for name in more)
    assert len(target.read_text().splitlines()) == EXAMPLES - ARCHIVED
    if router is not None:
        router.close()
    if state == "read-only":
        for path in (spoilt.parent, *beside(spoilt).parent.rglob("*")):
            path.chmod(0o700)
