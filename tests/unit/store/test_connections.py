"""The file, its locks and its connections; and what a transaction knows of the others."""

import os
import sqlite3
import stat
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from router_sdk.errors import (
    NotAStoreError,
    StoreBusyError,
    StoreUnavailableError,
)
from router_sdk.private_files import disk, make_private, private_folder
from router_sdk.store import connection as module
from router_sdk.store.connection import CACHE_KB, DatabaseFile, ProcessLock, open_looker, open_reader, open_writer
from router_sdk.store.schema import APPLICATION_ID, SCHEMA_VERSION

LONG_AGO = 1_000.0


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def beside(path, name):
    return path.with_name(path.name + name)


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


# -- folders and modes


def test_what_the_system_says_of_a_disk_is_an_error_of_ours():
    with disk("x"):
        pass
    for fault, said in ((OSError(28, "No space left"), "No space left"), (OSError("odd"), "odd")):
        with pytest.raises(StoreUnavailableError) as raised, disk("models"):
            raise fault
        assert str(raised.value) == f"models cannot be written: {said}; try again later"
        assert raised.value.__cause__ is fault
    with pytest.raises(ValueError, match="other"), disk("models"):
        raise ValueError("other")


def test_a_folder_that_is_made_is_its_owners_and_one_that_is_there_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    folder = tmp_path / "there" / "new" / "deep"
    assert private_folder(folder) == private_folder(folder) == folder
    assert [mode(path) for path in (folder, folder.parent, folder.parent.parent)] == [0o700, 0o700, 0o755]
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(StoreUnavailableError, match=r"^file cannot be written"):
            private_folder(tmp_path / name)


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o601, 0o600), (0o640, 0o600), (0o400, 0o400), (0o700, 0o700)]
)
def test_a_file_that_others_can_read_is_made_private(tmp_path, monkeypatch, before, after):
    for path in (file := tmp_path / "file", folder := tmp_path / "folder"):
        path.touch() if path is file else path.mkdir()
        path.chmod(before)
    for other in (-1, 1):
        monkeypatch.setattr(os, "geteuid", lambda other=other: file.stat().st_uid + other)
        make_private(file)
        assert mode(file) == before  # somebody else's
    monkeypatch.undo()
    for path in (file, folder, tmp_path / "missing"):
        make_private(path)
    assert mode(file) == after
    assert mode(folder) == (0o700 if after == 0o600 else after)


def test_a_store_and_what_stands_beside_it_is_its_owners(store_path, open_log):
    for name in ("-lock", "-shm"):
        beside(store_path, name).touch(0o644)
    beside(store_path, ".artifacts").mkdir(0o755)
    store_path.touch(0o644)
    log = open_log(privacy="hmac")
    log.decide()
    assert {path.name: mode(path) for path in store_path.parent.iterdir()} == {
        "router.db": 0o600,
        "router.db-wal": 0o600,
        "router.db-shm": 0o600,
        "router.db-lock": 0o600,
        "router.db.artifacts": 0o700,
    }


# -- which file it is


def test_a_file_is_found_through_links_and_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    for name in ("~/link.db", "~/real.db", str(tmp_path / "x" / ".." / "real.db")):
        assert DatabaseFile(module.Path(name)).path == tmp_path.resolve() / "real.db"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        DatabaseFile(tmp_path / "loop")


def test_a_claimed_file_is_made_once(store_path):
    file = DatabaseFile(store_path)
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        file.look()
    assert list(store_path.parent.iterdir()) == []
    file.claim()
    file.claim()
    assert (mode(store_path), store_path.stat().st_size) == (0o600, 0)
    store_path.unlink()
    with pytest.raises(StoreUnavailableError, match="deleted, moved or replaced"):
        file.claim()
    assert not store_path.exists()
    DatabaseFile(store_path).claim()
    with pytest.raises(StoreUnavailableError, match="make the folder, or choose another"):
        DatabaseFile(store_path.parent / "missing" / "x.db").claim()


def test_a_file_has_one_name(store_path):
    file = DatabaseFile(store_path)
    store_path.touch()
    file.look()
    os.link(store_path, other := store_path.with_name("other.db"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=r"router\.db has 2 names \(hard links\)"):
            file.claim()
    other.unlink()
    file.claim()


@pytest.mark.parametrize("name", ["-wal", "-shm", "-journal", "-lock", ".artifacts"])
def test_what_belongs_to_a_store_stands_beside_it(store_path, tmp_path, name):
    store_path.touch()
    link = beside(store_path, name)
    (tmp_path / "elsewhere").mkdir()
    if name == ".artifacts":
        link.mkdir()
        link = link / "key"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailableError, match="is a symbolic link"):
        DatabaseFile(store_path).look()
    link.unlink()
    DatabaseFile(store_path).look()


def database(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE mine (x)"],
        ["PRAGMA application_id = 5", "PRAGMA user_version = 3"],
        [f"PRAGMA application_id = {APPLICATION_ID - 1}", "CREATE TABLE mine (x)"],
    ],
)
def test_another_programs_database_stays_as_it_was(store_path, statements):
    database(store_path, *statements)
    before = store_path.read_bytes()
    file = DatabaseFile(store_path)
    for attempt in (file.look, file.claim, lambda: open_looker(store_path)):
        with pytest.raises(NotAStoreError, match=r"router\.db is the database of another program"):
            attempt()
    assert (store_path.read_bytes(), list(store_path.parent.iterdir())) == (before, [store_path])


def test_what_another_program_has_in_its_log_alone_is_seen(store_path):
    with closing(sqlite3.connect(store_path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        DatabaseFile(store_path).look()
        other.execute("CREATE TABLE mine (x)")
        assert DatabaseFile(store_path).has_log()
        with pytest.raises(NotAStoreError):
            DatabaseFile(store_path).look()


@pytest.mark.parametrize("kind", ["folder", "pipe", "text"])
def test_what_is_no_database_is_named(store_path, kind):
    if kind == "text":
        store_path.write_text("x" * 99)
    else:
        {"folder": os.mkdir, "pipe": os.mkfifo}[kind](store_path)
    with pytest.raises(NotAStoreError, match=r"router\.db is no database"):
        DatabaseFile(store_path).look()
    if kind == "text":
        with pytest.raises(NotAStoreError, match=r"router\.db is no database"):
            open_reader(store_path)


# -- watching it


@pytest.fixture
def watched(store_path, monkeypatch):
    """A claimed file, in a folder that was changed long ago."""
    file = DatabaseFile(store_path)
    file.claim()
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: LONG_AGO + 5))
    os.utime(store_path.parent, (LONG_AGO, LONG_AGO))
    return file


def touched(path, name, at):
    (path.parent / name).touch()
    os.utime(path.parent, (at, at))


def test_a_file_is_looked_at_where_its_folder_changed(watched, store_path):
    assert [watched.check() for _ in range(3)] == [True, False, False]
    touched(store_path, "new", LONG_AGO + 1)
    assert [watched.check() for _ in range(3)] == [True, False, False]
    watched.opened()
    assert [watched.check() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("age", "settled"), [(0.05, False), (0.2, True)])
def test_a_change_may_share_its_moment_with_another(watched, monkeypatch, age, settled):
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: LONG_AGO + age))
    assert [watched.check() for _ in range(3)] == [True, not settled, not settled]


@pytest.mark.parametrize(("age", "settled"), [(0.25, False), (0.5, False), (0.75, True)])
def test_only_an_older_moment_is_settled(watched, monkeypatch, age, settled):
    monkeypatch.setattr(module, "_TICK_S", 0.5)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: LONG_AGO + age))
    assert [watched.check() for _ in range(2)] == [True, not settled]


@pytest.mark.parametrize("what", ["deleted", "replaced", "folder"])
def test_a_name_that_leads_elsewhere_is_said_each_time(watched, store_path, tmp_path, what):
    watched.check()
    away = tmp_path.parent / f"{tmp_path.name}-away"
    if what == "folder":
        store_path.parent.rename(away)
    else:
        store_path.rename(away)
        if what == "replaced":
            store_path.touch()
        os.utime(store_path.parent, (LONG_AGO + 1, LONG_AGO + 1))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=r"router\.db is not the file any more that was opened"):
            watched.check()
    away.replace(store_path.parent if what == "folder" else store_path)
    assert watched.check() is (what != "folder")  # whose time tells of no change


def test_the_log_of_an_open_connection_must_stay(watched, store_path):
    wal = beside(store_path, "-wal")
    wal.touch()
    watched.opened()
    assert watched.check() is True
    wal.rename(away := store_path.with_name("away"))
    for at in (LONG_AGO + 1, LONG_AGO + 2):
        os.utime(store_path.parent, (at, at))
        with pytest.raises(StoreUnavailableError, match=r"router\.db-wal was deleted while the store is open"):
            watched.check()
    watched.closed()
    assert watched.check() is True
    away.rename(wal)
    watched.opened()
    assert watched.check() is True


# -- the lock between processes


def test_a_lock_lets_one_in(tmp_path):
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    first.acquire(0.0)
    assert mode(tmp_path / "lock") == 0o600
    with pytest.raises(StoreBusyError, match="another process keeps the store locked"):
        second.acquire(0.0)
    first.release()
    second.acquire(0.0)
    with pytest.raises(StoreBusyError):
        first.acquire(0.0)
    second.close()  # lets go of it, too
    first.acquire(0.0)
    for lock in (first, first, second):
        lock.close()
        lock.renew()
    second.acquire(0.0)
    second.close()
    with pytest.raises(StoreUnavailableError, match="make the folder, or choose another"):
        ProcessLock(tmp_path / "missing" / "lock").acquire(0.0)


@pytest.mark.parametrize(("deadline", "rests"), [(0.9, 0), (1.0, 0), (1.1, 1), (3.0, 2)])
def test_a_lock_is_waited_for_until_a_moment(tmp_path, monkeypatch, deadline, rests):
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    first.acquire(0.0)
    moments, slept = iter([1.0, 2.0, 3.0, 4.0]), []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments), sleep=slept.append))
    with pytest.raises(StoreBusyError):
        second.acquire(deadline)
    assert slept == [0.0005] * rests
    first.close()
    second.close()


@pytest.mark.parametrize(("change", "kept"), [("none", True), ("deleted", False), ("replaced", False)])
def test_a_lock_file_that_is_another_is_opened_anew(tmp_path, change, kept):
    path = tmp_path / "lock"
    lock, other = ProcessLock(path), ProcessLock(path)
    lock.acquire(0.0)
    if change != "none":
        path.unlink()
    if change == "replaced":
        path.touch()
    lock.renew()
    if kept:
        with pytest.raises(StoreBusyError):
            other.acquire(0.0)
    else:
        assert lock._descriptor == -1
        lock.acquire(0.0)
        with pytest.raises(StoreBusyError):  # both at the same file again
            other.acquire(0.0)
    lock.close()
    other.close()


# -- connections


def test_a_reader_reads(log, tmp_path):
    log.decide()
    with closing(open_reader(log.path)) as reader:
        assert reader.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
        found = [pragma(reader, name) for name in ("query_only", "cache_size", "busy_timeout")]
        assert found == [1, -CACHE_KB, 30_000]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM decisions")
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        open_reader(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_a_writer_writes_what_stays(store_path, durable, synchronous):
    lock = ProcessLock(beside(store_path, "-lock"))
    with closing(open_writer(DatabaseFile(store_path), lock, durable=durable)) as writer:
        names = ("synchronous", "journal_mode", "secure_delete", "cache_size", "temp_store", "busy_timeout")
        assert [pragma(writer, name) for name in names] == [synchronous, "wal", 1, -CACHE_KB, 2, 50]
        names = ("auto_vacuum", "application_id", "user_version")
        assert [pragma(writer, name) for name in names] == [2, APPLICATION_ID, SCHEMA_VERSION]
        assert writer.isolation_level is None
        (other := ProcessLock(beside(store_path, "-lock"))).acquire(0.0)  # the lock was for opening
        other.close()
    lock.close()


def test_who_cannot_open_a_file_keeps_no_lock(store_path):
    database(store_path, "CREATE TABLE mine (x)")
    lock, other = (ProcessLock(beside(store_path, "-lock")) for _ in range(2))
    with pytest.raises(NotAStoreError):
        open_writer(DatabaseFile(store_path), lock)
    other.acquire(0.0)
    lock.close()
    other.close()


def test_opening_a_store_waits_half_a_minute_for_others(store_path, monkeypatch):
    lock = ProcessLock(beside(store_path, "-lock"))
    asked = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 5.0, time=time.time))
    monkeypatch.setattr(lock, "acquire", lambda deadline: asked.append(deadline) or lock._open())
    open_writer(DatabaseFile(store_path), lock).close()
    lock.close()
    assert asked == [35.0]
