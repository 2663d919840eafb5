"""A store that somebody spoils, and what lies around it that nobody may touch."""

import hashlib
import json
import os
import sqlite3
import stat
import threading
from contextlib import closing, suppress
from pathlib import Path

from fitted_strategy import Words

from router_sdk import Agent, Outcome, Router, Task
from router_sdk.errors import RouterError
from router_sdk.store.artifacts import MANIFEST

AGENTS = [Agent("billing"), Agent("fraud"), Agent("sales")]
RIGHT = {"refund": "billing", "stolen": "fraud", "offer": "sales"}
EXAMPLES = 60
ARCHIVED = 18
SESSION = "zebrawood"
_LONG_AGO_S = 10_000.0


def open_router(store, strategies=(Words, "thompson"), **settings):
    options = {"agents": AGENTS, "retrain": False, "fit_executor": "thread", "epsilon": 0.0, "seed": 3, **settings}
    return Router(strategies=list(strategies), store=store, **options)


def teach(router, rounds=6, start=0, session=None):
    """Three examples in each round, of texts that are new with each ``start``."""
    for number in range(start, start + rounds):
        for word, agent in RIGHT.items():
            task = Task(f"{word} number {number}", session_id=session)
            router.observe(task, agent=agent, outcome=Outcome(correct_agent=agent, response="done"))
    router.flush()


def fill(store):
    """Three versions of ``words``, two snapshots of everything, an archive, and a session."""
    with open_router(store) as router:
        for start in (0, 100, 200):
            teach(router, start=start)
            assert router.models.retrain(wait=True).state == "promoted"
            router.snapshot()
            if not start:
                assert router.archive(2e9) == ARCHIVED
        teach(router, 2, start=300, session=SESSION)


def interrupt_a_fit(router, store):
    """Leave one that has written a checkpoint."""
    fit = router.models.retrain(mode="hang")
    while not any("0" in files for folder, _, files in os.walk(beside(store, "fits")) if "checkpoints" in folder):
        assert fit.running, fit.words
        threading.Event().wait(0.01)
    fit.stop()
    fit.wait()


def live(router, backup):
    """Do everything that reads, writes, moves or deletes what a table names; it may be refused, in words of ours."""
    engine = router._parts
    for one in (
        lambda: [router.models.promote("words", number, force=True) for number in (1, 2)],
        lambda: router.models.report("words", 3),
        lambda: router.forget(SESSION),
        lambda: router.models.rollback("words"),
        lambda: router.models.pin("words", 3),
        lambda: router.models.unpin("words"),
        lambda: teach(router, start=1_000),
        lambda: router.models.retrain(wait=True),
        router.snapshot,
        lambda: router.backup(backup),
        lambda: router.archive(2e9),
        engine.store.snapshots.tidy,
        engine.registry.tidy,
    ):
        with suppress(RouterError):
            one()
        assert router.route("refund me").agent in RIGHT.values()


def execute(store, *statements):
    with closing(sqlite3.connect(store)) as connection, connection:
        for statement, parameters in statements:
            assert connection.execute(statement, parameters).rowcount, statement


def beside(store, *parts):
    return store.with_name(f"{store.name}.artifacts").joinpath(*parts)


def lay_out(*places):
    """Files and folders that look like what a path could lead to, and like what may be tidied away."""
    for place in places:
        for name in ("evil", "evil.jsonl.gz", "evil-1.json"):
            (place / name).mkdir(parents=True)
            (place / name / "words.json").write_text('{"dear": "diary"}')
            (place / name / MANIFEST).write_text('{"sha256": {}}')
        (place / "diary.txt").write_text("dear diary")
        for path in place.iterdir():
            os.utime(path, (path.stat().st_mtime - _LONG_AGO_S,) * 2)


def put_another_state(folder):
    """What is none of that strategy's, with a manifest that is right."""
    files = [path for path in folder.iterdir() if path.name != MANIFEST]
    for path in files:
        path.write_text("[[], []]")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / MANIFEST).write_text(json.dumps({"sha256": digests}))


def seen(folder):
    """What anybody could tell of each file and folder below one: kind and mode, time, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        told, name = path.lstat(), path.relative_to(folder).as_posix()
        if stat.S_ISREG(told.st_mode):
            found[name] = told.st_mode, told.st_mtime_ns, path.read_bytes()
        else:  # the time of a folder says no more than what is in it
            found[name] = told.st_mode, None, os.readlink(path) if path.is_symlink() else None
    return found


# -- databases of other programs


def database(*statements):
    def make(path):
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return make


def living_database(path):
    """One whose program is running, and has everything in its write-ahead log yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "CREATE TABLE x (a)", "INSERT INTO x VALUES (1)"):
        connection.execute(statement)
    return connection


def dead_database(path):
    """One whose program was killed, and left such a log."""
    with closing(living_database(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint")
        connection.execute("INSERT INTO x VALUES (2)")
        left = {beside: Path(f"{path}{beside}").read_bytes() for beside in ("", "-wal")}
    for name, content in left.items():
        Path(f"{path}{name}").write_bytes(content)
