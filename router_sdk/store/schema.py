"""The tables, as append-only named migrations.

Decisions and outcomes are a narrow numeric skeleton that is never edited; whatever a person may ask to have
erased (texts, features, vectors, session ids) lies apart in ``payloads`` and ``vectors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_sdk.errors import SchemaVersionError

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database, Migrations

SCHEMA_VERSION = 2
"""Number of the newest migration, kept in SQLite's ``user_version``: equal means that nothing is to be done."""

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

EVENT_TABLES = ("decisions", "outcomes", "agents", "forgotten")
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

    return named


def _execute(db: Database, statements: str, version: int) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema; does nothing, and imports nothing, where it already is.

    Raises:
        SchemaVersionError: if a newer release wrote the file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the store has schema {version}, this release knows {SCHEMA_VERSION}: upgrade router-sdk to open it"
        )
    if version < SCHEMA_VERSION:
        from sqlite_utils import Database

        migrations().apply(Database(connection))
