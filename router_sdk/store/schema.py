"""The tables, as append-only named migrations.

Decisions and outcomes are a narrow numeric skeleton that is never edited; whatever a person may ask to have
erased (texts, features, vectors, session ids) lies apart in ``payloads`` and ``vectors``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from router_sdk.errors import NotAStoreError, SchemaVersionError
from router_sdk.store.access import ACCESS_KEYS
from router_sdk.store.datasets import DATASETS
from router_sdk.store.experiments import EXPERIMENTS
from router_sdk.store.rows import ENOUGH, MOST_OUTCOMES

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database, Migrations

SCHEMA_VERSION = 9
"""Number of the newest migration, kept in SQLite's ``user_version``: equal means that nothing is to be done."""

APPLICATION_ID = 0x52534447
"""SQLite's ``application_id`` of a store; files from before there was one are known by their tables."""

_FIRST = """
CREATE TABLE agents (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'removed')),
    fresh INTEGER NOT NULL CHECK (fresh IN (0, 1)),
    record TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX agents_by_name ON agents (name, seq);

CREATE TABLE agent_sets (set_id INTEGER PRIMARY KEY, names TEXT NOT NULL) STRICT;

CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    agent TEXT,
    task_type TEXT NOT NULL,
    tenant TEXT,
    source TEXT NOT NULL CHECK (source IN ('routed', 'observed')),
    propensity REAL CHECK (propensity > 0 AND propensity <= 1),
    explored INTEGER NOT NULL CHECK (explored IN (0, 1)),
    strategy TEXT NOT NULL,
    model_version INTEGER,
    confidence REAL CHECK (confidence BETWEEN 0 AND 1),
    epsilon REAL NOT NULL,
    favourite INTEGER NOT NULL,
    set_id INTEGER NOT NULL,
    probabilities BLOB NOT NULL,
    skipped TEXT
) STRICT;

CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY,
    outcome_id TEXT,
    decision_id TEXT NOT NULL,
    at REAL NOT NULL,
    tenant TEXT,
    success INTEGER CHECK (success IN (0, 1)),
    quality REAL CHECK (quality BETWEEN 0 AND 1),
    feedback REAL CHECK (feedback BETWEEN -1 AND 1),
    correct_agent TEXT,
    no_agent_fits INTEGER CHECK (no_agent_fits IN (0, 1)),
    latency_ms REAL CHECK (latency_ms >= 0),
    cost_usd REAL CHECK (cost_usd >= 0),
    tokens INTEGER CHECK (tokens >= 0),
    metrics TEXT
) STRICT;
CREATE UNIQUE INDEX outcomes_by_id ON outcomes (outcome_id) WHERE outcome_id IS NOT NULL;
CREATE INDEX outcomes_by_decision ON outcomes (decision_id, seq);

CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    session_id TEXT,
    text TEXT,
    features TEXT,
    context TEXT,
    response TEXT,
    feedback_text TEXT,
    error TEXT
) STRICT;
CREATE INDEX payloads_by_session ON payloads (session_id, seq) WHERE session_id IS NOT NULL;

CREATE TABLE vectors (
    seq INTEGER NOT NULL,
    encoder TEXT NOT NULL,
    dtype TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (seq, encoder)
) STRICT, WITHOUT ROWID;

CREATE TABLE forgotten (seq INTEGER PRIMARY KEY, decision_ids TEXT NOT NULL, at REAL NOT NULL) STRICT;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    decision_id TEXT,
    reason TEXT NOT NULL,
    body TEXT
) STRICT;

CREATE TABLE learning_events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    strategy TEXT NOT NULL,
    model_version INTEGER,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('succeeded', 'failed')),
    batch_size INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    metrics_before REAL,
    metrics_after REAL,
    improvement REAL,
    duration_ms REAL NOT NULL,
    error TEXT
) STRICT;

CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    strategy TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    folder TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX snapshots_by_strategy ON snapshots (strategy, fingerprint, cursor);

CREATE TABLE positions (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

_VERSIONS = """
CREATE TABLE model_versions (
    strategy TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('fit', 'pretrain')),
    parent INTEGER,
    upto INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
    reason TEXT NOT NULL,
    folder TEXT NOT NULL,
    settings TEXT NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (strategy, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE alias_history (
    token INTEGER PRIMARY KEY,
    strategy TEXT NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER,
    at REAL NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX alias_history_by_name ON alias_history (strategy, alias, token);
"""

_ORDER = """
ALTER TABLE decisions RENAME TO decisions_2;
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    agent TEXT,
    task_type TEXT NOT NULL,
    tenant TEXT,
    source TEXT NOT NULL CHECK (source IN ('routed', 'observed', 'kept', 'shadow')),
    propensity REAL CHECK (propensity > 0 AND propensity <= 1),
    explored INTEGER NOT NULL CHECK (explored IN (0, 1)),
    strategy TEXT NOT NULL,
    model_version INTEGER,
    confidence REAL CHECK (confidence BETWEEN 0 AND 1),
    epsilon REAL NOT NULL,
    favourite INTEGER NOT NULL,
    set_id INTEGER NOT NULL,
    probabilities BLOB NOT NULL,
    skipped TEXT,
    step INTEGER CHECK (step >= 0),
    parent_decision_id TEXT,
    session_propensity REAL CHECK (session_propensity > 0 AND session_propensity <= 1),
    arm TEXT,
    arm_probability REAL CHECK (arm_probability > 0 AND arm_probability <= 1)
) STRICT;
INSERT INTO decisions (seq, decision_id, at, agent, task_type, tenant, source, propensity, explored, strategy,
    model_version, confidence, epsilon, favourite, set_id, probabilities, skipped)
SELECT seq, decision_id, at, agent, task_type, tenant, source, propensity, explored, strategy,
    model_version, confidence, epsilon, favourite, set_id, probabilities, skipped FROM decisions_2;
DROP TABLE decisions_2;

ALTER TABLE outcomes ADD COLUMN origin TEXT
    CHECK (origin IN ('user', 'tool', 'judge', 'signal', 'horizon', 'import'));
ALTER TABLE outcomes ADD COLUMN actor TEXT;
ALTER TABLE outcomes ADD COLUMN agent TEXT;
ALTER TABLE payloads ADD COLUMN context_hash TEXT;
ALTER TABLE payloads ADD COLUMN dedupe_hash TEXT;

ALTER TABLE learning_events RENAME TO learning_events_2;
CREATE TABLE learning_events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    strategy TEXT NOT NULL,
    model_version INTEGER,
    type TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('succeeded', 'failed', 'refused', 'stopped')),
    batch_size INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    metrics_before REAL,
    metrics_after REAL,
    improvement REAL,
    duration_ms REAL NOT NULL,
    error TEXT,
    reason TEXT,
    fine_tuned INTEGER CHECK (fine_tuned IN (0, 1))
) STRICT;
INSERT INTO learning_events (id, at, strategy, model_version, type, status, batch_size, samples, cursor,
    metrics_before, metrics_after, improvement, duration_ms, error)
SELECT id, at, strategy, model_version, type,
    CASE WHEN error LIKE 'refused: %' THEN 'refused' WHEN error LIKE 'stopped: %' THEN 'stopped' ELSE status END,
    batch_size, samples, cursor, metrics_before, metrics_after, improvement, duration_ms, error
FROM learning_events_2;
DROP TABLE learning_events_2;

ALTER TABLE model_versions ADD COLUMN fine_tuned INTEGER CHECK (fine_tuned IN (0, 1));
ALTER TABLE model_versions ADD COLUMN data_hash TEXT;
ALTER TABLE model_versions ADD COLUMN pruned_at REAL;
ALTER TABLE alias_history ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));

CREATE TABLE intents (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('forget', 'archive', 'promote', 'import')),
    body TEXT NOT NULL
) STRICT;
CREATE TABLE consumers (
    name TEXT NOT NULL,
    process TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (name, process)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten_decisions (decision_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE pretraining (
    decision_id TEXT PRIMARY KEY,
    session_id TEXT,
    context_hash TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX pretraining_by_session ON pretraining (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX pretraining_by_context ON pretraining (context_hash) WHERE context_hash IS NOT NULL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID
"""

_BOUNDS = f"""
ALTER TABLE outcomes ADD COLUMN logged_at REAL;
UPDATE outcomes SET logged_at = known.newest
FROM (SELECT seq, max(at) OVER (ORDER BY seq) AS newest FROM outcomes) AS known WHERE known.seq = outcomes.seq;
CREATE TRIGGER outcomes_of_a_decision BEFORE INSERT ON outcomes
WHEN (SELECT count(*) FROM outcomes WHERE decision_id = NEW.decision_id) >= {MOST_OUTCOMES}
BEGIN SELECT RAISE(ABORT, '{ENOUGH}'); END
"""
"""What was learnt of earlier rows went by their own times, the newest so far."""

_TENANTS = """
DROP INDEX outcomes_by_id;
CREATE INDEX outcomes_by_id ON outcomes (outcome_id, decision_id) WHERE outcome_id IS NOT NULL;
ALTER TABLE pretraining ADD COLUMN tenant TEXT;
UPDATE pretraining SET tenant = '';
INSERT INTO meta VALUES ('store_secret', lower(hex(randomblob(32))))
"""
"""An outcome's id is a name of its decision's tenant, so that no index can hold it unique. Of a pre-training that an
earlier release noted nobody knows the tenant, which the empty name says."""

_QUARANTINES = """
CREATE TABLE quarantines (
    seq INTEGER PRIMARY KEY, lifts INTEGER UNIQUE, strategy TEXT, reason TEXT NOT NULL, actor TEXT, at REAL NOT NULL,
    from_seq INTEGER CHECK (from_seq >= 0), upto_seq INTEGER CHECK (upto_seq > from_seq AND upto_seq < seq),
    CHECK ((lifts IS NULL) = (from_seq IS NOT NULL AND upto_seq IS NOT NULL))
) STRICT
"""

EVENT_TABLES = ("decisions", "outcomes", "agents", "forgotten", "quarantines", "experiments")
"""Tables whose ``seq`` is drawn from the one commit-ordered sequence."""


def migrations() -> Migrations:
    """All migrations, oldest first. Add to the end and raise ``SCHEMA_VERSION``; never edit one."""
    from sqlite_utils import Migrations

    named = Migrations("router_sdk")

    @named()
    def m0001_log(db: Database) -> None:
        _execute(db, _FIRST, 1)

    @named()
    def m0002_versions(db: Database) -> None:
        _execute(db, _VERSIONS, 2)

    @named()
    def m0003_order(db: Database) -> None:
        _execute(db, _ORDER, 3)
        forgotten = db.execute("SELECT decision_ids FROM forgotten").fetchall()
        ids = [(decision_id,) for (joined,) in forgotten for decision_id in joined.split()]
        db.conn.executemany("INSERT OR IGNORE INTO forgotten_decisions VALUES (?)", ids)
        db.execute("INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(16))))")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    @named()
    def m0004_bounds_and_tenants(db: Database) -> None:
        _execute(db, f"{_BOUNDS};\n{_TENANTS}", 4)

    @named()
    def m0005_probation(db: Database) -> None:
        _execute(db, "ALTER TABLE alias_history ADD COLUMN seq INTEGER", 5)

    @named()
    def m0006_datasets(db: Database) -> None:
        _execute(db, DATASETS, 6)

    @named()
    def m0007_quarantine(db: Database) -> None:
        _execute(db, _QUARANTINES, 7)

    @named()
    def m0008_experiments(db: Database) -> None:
        _execute(db, EXPERIMENTS, 8)

    @named()
    def m0009_access_keys(db: Database) -> None:
        _execute(db, ACCESS_KEYS, 9)

    return named


def _execute(db: Database, statements: str, version: int) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


@cache
def _table_names() -> frozenset[str]:
    """Tables of the newest schema."""
    every = (_FIRST, _VERSIONS, _ORDER, DATASETS, _QUARANTINES, EXPERIMENTS, ACCESS_KEYS)
    return frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(every)))


def missing_tables(connection: sqlite3.Connection) -> list[str]:
    """Tables that a database of the newest schema should have, and has not."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return sorted(_table_names() - there)


def lacks(tables: list[str]) -> str:
    """What to say of a store without these tables."""
    return (
        f"the database says that it is a store, and lacks the tables {', '.join(tables)}; restore a backup (router "
        "restore), or name another file"
    )


def newer(version: int) -> str:
    """What to say of a file that a newer release wrote."""
    return f"the store has schema {version}, this release knows {SCHEMA_VERSION}: upgrade router-sdk to open it"


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema; does nothing, and imports nothing, where it already is.

    Raises:
        SchemaVersionError: if a newer release wrote the file.
        NotAStoreError: if tables are missing.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(newer(version))
    if version < SCHEMA_VERSION:
        from sqlite_utils import Database

        migrations().apply(Database(connection))
    if missing := missing_tables(connection):
        raise NotAStoreError(lacks(missing))
