import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import forked_programs
import pytest
from fitted_strategy import Words

from router_sdk import Router
from router_sdk.errors import NotAStoreError, SchemaVersionError, StoreUnavailableError
from router_sdk.store import Store
from router_sdk.store.schema import SCHEMA_VERSION, migrate


def test_a_missing_folder_is_a_named_error(tmp_path):
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        Store(tmp_path / "missing" / "router.db")


def test_a_file_in_the_way_is_a_named_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        Store(tmp_path / "file" / "router.db")


@pytest.mark.parametrize("name", ["x" * 250, "nul\0.db", "~nobody-of-that-name/router.db"])
def test_a_name_that_no_file_can_have_is_a_named_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        Store(Path(name))
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_looked_at_has_nothing_waiting(open_log, store_path):
    open_log().close()
    with closing(Store(store_path, read_only=True)) as store:
        assert store.writer.waiting == 0


def test_a_folder_is_no_store_and_nothing_is_left_beside_it(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(StoreUnavailableError, match="folder"):
        Store(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("content", [b"x", b"dear diary", b"dear diary, " * 1_000])
def test_what_is_no_database_is_a_named_error_and_stays_as_it_was(store_path, content):
    store_path.write_bytes(content)
    with pytest.raises(StoreUnavailableError, match="database"):
        Store(store_path)
    assert store_path.read_bytes() == content


def test_a_newer_releases_file_is_refused(open_log, store_path):
    open_log().close()
    connection = sqlite3.connect(store_path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(SchemaVersionError, match="upgrade"):
        Store(store_path)


def test_a_file_is_migrated_once_and_opened_with_full_durability(log, open_log):
    connection = log.writer._committer.writing._connection
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
    before = log.query("SELECT sql FROM sqlite_master ORDER BY name")
    migrate(connection)
    assert open_log().query("SELECT sql FROM sqlite_master ORDER BY name") == before


def test_two_processes_may_create_one_store_at_once(store_path):
    program = f"from router_sdk.store import Store; Store({str(store_path)!r}).close()"
    running = [forked_programs.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]


def test_memory_leaves_nothing_behind():
    store = Store(":memory:")
    assert store.path.exists()
    store.close()
    assert not store.path.parent.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_that_lost_its_tables_is_a_named_error(store_path, read_only):
    with Router(["a"], ["heuristic"], store_path):
        pass
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute("DROP TABLE payloads")
        connection.execute("DROP TABLE agents")
    with pytest.raises(NotAStoreError, match="lacks the tables agents, payloads"):
        Router(["a"], ["heuristic"], store_path, read_only=read_only)
    with closing(sqlite3.connect(store_path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'agents'").fetchone() == (0,)


def test_a_router_that_only_looks_says_so_and_logs_no_fault(store_path, caplog):
    with Router(["a", "b"], [Words], store_path):
        pass
    with Router(["a", "b"], [Words], store_path, read_only=True) as router:
        decision = router.route("x")
        assert not decision.logged
        with pytest.raises(StoreUnavailableError, match="reading alone"):
            router.record(decision, {"success": True})
        with pytest.raises(StoreUnavailableError, match="reading alone"):
            router.models.retrain()
        with pytest.raises(StoreUnavailableError, match="reading alone"):
            router.models.pretrain(["x"], ["a"])
        assert router.models.newest_fit is None
    assert caplog.records == []
