"""Stores of earlier releases: brought up to date once, whole, whoever opens them and whenever that is cut off.

``old/make_old.py`` wrote them with those releases' own code, and says how.
"""

import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import forked_programs
import pytest

from router_sdk import Router
from router_sdk.errors import SchemaVersionError, StoreUnavailableError
from router_sdk.plugin import hookimpl
from router_sdk.store import Store
from router_sdk.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrate

from .old.make_old import AGENTS, RELEASES, Tally, learnt

OLD = Path(__file__).parent / "old"
LIMIT_S = 60
TRANSLATED = {"refused: ": "refused", "stopped: ": "stopped"}
"""What an earlier release wrote before the reason of a fit that had not failed, and its status since."""
NEW_VALUES = {2: {"alias_history": {"held": 0}}, 3: {"pretraining": {"tenant": ""}}}
"""What rows of an earlier release, by its schema, hold in columns that came later, where it is not NULL."""


@pytest.fixture(params=RELEASES)
def schema(request):
    return request.param


@pytest.fixture
def path(tmp_path, schema):
    return unpacked(schema, tmp_path / "router.db")


def unpacked(schema, path):
    path.write_bytes(gzip.decompress((OLD / f"schema_{schema}.db.gz").read_bytes()))
    return path


def tables(path):
    """Every row of every table, as mappings."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}


def shape(path):
    """Columns and indexes of every table, however the statements that made them were spelled."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: (
                sorted(row[1:] for row in connection.execute(f"PRAGMA table_xinfo({name})")),
                sorted(row[2:] for row in connection.execute(f"PRAGMA index_list({name})")),
            )
            for name in names
        }


def pragma(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def opened_once(path):
    Store(path).close()
    return tables(path)


# -- what comes of it


def test_every_row_is_kept_as_it_was(path, schema):
    before = tables(path)
    after = opened_once(path)
    assert {name for name, rows in before.items() if not rows} == set(), "the old store has something everywhere"
    for name, rows in before.items():
        if name == "_sqlite_migrations":
            continue
        new = NEW_VALUES.get(schema, {}).get(name, {})
        came = {"store_secret"} if name == "meta" and schema < 4 else set()
        kept = [row for row in after[name] if row.get("name") not in came]
        for old, row in zip(rows, kept, strict=True):
            if name == "learning_events":
                old["status"] = TRANSLATED.get((old["error"] or "")[:9], old["status"])
            if name == "outcomes" and schema < 4:  # what was learnt of them went by the newest of their own times
                new = {"logged_at": max(one["at"] for one in rows if one["seq"] <= old["seq"])}
            assert {column: row[column] for column in old} == old
            assert {column: value for column, value in row.items() if column not in old and value is not None} == new


def test_a_migrated_store_is_what_a_new_one_is(path, tmp_path):
    opened_once(path)
    opened_once(tmp_path / "new.db")
    assert shape(path) == shape(tmp_path / "new.db")
    assert (pragma(path, "user_version"), pragma(path, "application_id")) == (SCHEMA_VERSION, APPLICATION_ID)
    assert pragma(path, "integrity_check") == "ok"


def test_what_was_forgotten_stays_forgotten(path):
    after = opened_once(path)
    ids = {decision_id for row in after["forgotten"] for decision_id in row["decision_ids"].split()}
    assert {row["decision_id"] for row in after["forgotten_decisions"]} == ids
    assert len(ids) == 3
    with Router(None, [Tally], path, plugins=[Brings()]) as router:  # what is said of them later is not kept either
        router.record(min(ids), {"response": "something personal", "quality": 1.0})
    assert not [row for row in tables(path)["payloads"] if row["response"] == "something personal"]


def test_it_happens_once(path):
    once = opened_once(path)
    assert len(once["_sqlite_migrations"]) == SCHEMA_VERSION
    assert [row["name"] for row in once["meta"] if row["name"].startswith("store_")] == ["store_id", "store_secret"]
    assert opened_once(path) == once


class Brings:
    @hookimpl
    def register_strategies(self):
        return [Tally]


def without_moving_averages(told):
    """In those releases they went by first reports alone; now they follow corrections."""
    for report in told["reports"].values():
        for figures in (report, *report["task_types"].values()):
            del figures["ema"]
    return told


def test_the_log_teaches_what_it_taught_the_release_that_wrote_it(path, schema):
    """Snapshots and versions are gone with the folder beside it; all is learnt from the log."""
    with Router(AGENTS, [Tally], path, retrain=False) as router:
        then = json.loads((OLD / f"schema_{schema}.json").read_text())
        now = learnt(router, router.strategy("tally"))
        assert without_moving_averages(now) == without_moving_averages(then)
        for row in tables(path)["decisions"]:
            known = router.decision(row["decision_id"])
            assert (known.agent, known.propensity, known.strategy) == (row["agent"], row["propensity"], row["strategy"])
        examples = router.examples[:]
        assert len(examples) == router.statistics()["total_examples"]
        assert {len(one.vectors.get("hashed-words:fp32", ())) for one in examples} == {0, 64}


# -- whoever opens it, and whenever that ends


def test_processes_may_open_it_at_once(path):
    before = tables(path)["outcomes"]
    program = f"from router_sdk.store import Store; input(); Store({str(path)!r}).close()"
    command = [sys.executable, "-W", "error", "-c", program]
    running = [forked_programs.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        process.stdin.write("\n")
        process.stdin.close()
    assert [process.wait(LIMIT_S) for process in running] == [0, 0, 0]
    after = tables(path)
    assert len(after["_sqlite_migrations"]) == SCHEMA_VERSION
    assert [row["outcome_id"] for row in after["outcomes"]] == [row["outcome_id"] for row in before]
    assert pragma(path, "integrity_check") == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_migration_that_is_killed_leaves_a_store_that_opens(path, schema, request):
    """Killed before every fifth of its statements, with ``--reliability`` before each."""
    step = 1 if request.config.getoption("--reliability") else 5
    program = f"import runpy; runpy.run_module({__name__!r}, run_name='__main__', alter_sys=True)"
    done = forked_programs.run(
        [sys.executable, "-W", "error", "-c", program, str(path), str(step)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    killed, whole = json.loads(done.stdout)
    assert killed * step > {1: 40, 2: 40, 3: 5, 4: 2, 5: 2, 6: 2}.get(schema, 1)
    assert whole == killed


def kill_everywhere(path, step):
    """Migrate copies of a store in children that are killed; how many were, and after how many all was there."""
    expected, number, killed, whole = None, 0, 0, 0
    while True:
        copy = path.with_name(f"copy-{number}.db")
        shutil.copy(path, copy)
        child = os.fork()
        if child == 0:
            migrate_until(copy, number)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        rows = {name: rows for name, rows in opened_once(copy).items() if name not in ("_sqlite_migrations", "meta")}
        if ended == 0:
            return killed, whole if rows == expected else -1
        assert ended == -signal.SIGKILL, ended
        expected = expected or rows
        whole += rows == expected and pragma(copy, "integrity_check") == "ok"
        killed += 1
        number += step


def migrate_until(path, number):
    """Bring a store up to date, and be killed before a statement."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        left = iter(range(number))
        connection.set_trace_callback(
            lambda statement: None if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
        )
        migrate(connection)


# -- what is refused


def test_a_look_at_it_changes_nothing_and_says_what_to_do(path):
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(StoreUnavailableError, match=r"earlier release.*open a router on it once"):
        Router(None, [Tally], path, read_only=True)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not path.with_name("router.db.artifacts").exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_what_a_newer_release_wrote_is_refused_and_left_alone(path, read_only):
    opened_once(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = tables(path), path.read_bytes()
    with pytest.raises(SchemaVersionError, match="upgrade"):
        Store(path, read_only=read_only)
    assert (tables(path), path.read_bytes()) == before


if __name__ == "__main__":
    json.dump(kill_everywhere(Path(sys.argv[1]), int(sys.argv[2])), sys.stdout)
