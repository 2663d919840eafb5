"""The tables as SQL, a text for each migration; ``schema`` applies them. What stands here is never edited.

Decisions and outcomes are a narrow numeric skeleton that is never edited; whatever a person may ask to have
erased (texts, features, vectors, session ids) lies apart in ``payloads`` and ``vectors``.
"""

from __future__ import annotations

from router_sdk.store.rows import ENOUGH, MOST_OUTCOMES

FIRST = """
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

VERSIONS = """
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

ORDER = """
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

BOUNDS = f"""
ALTER TABLE outcomes ADD COLUMN logged_at REAL;
UPDATE outcomes SET logged_at = known.newest
FROM (SELECT seq, max(at) OVER (ORDER BY seq) AS newest FROM outcomes) AS known WHERE known.seq = outcomes.seq;
CREATE TRIGGER outcomes_of_a_decision BEFORE INSERT ON outcomes
WHEN (SELECT count(*) FROM outcomes WHERE decision_id = NEW.decision_id) >= {MOST_OUTCOMES}
BEGIN SELECT RAISE(ABORT, '{ENOUGH}'); END
"""
"""What was learnt of earlier rows went by their own times, the newest so far."""

TENANTS = """
DROP INDEX outcomes_by_id;
CREATE INDEX outcomes_by_id ON outcomes (outcome_id, decision_id) WHERE outcome_id IS NOT NULL;
ALTER TABLE pretraining ADD COLUMN tenant TEXT;
UPDATE pretraining SET tenant = '';
INSERT INTO meta VALUES ('store_secret', lower(hex(randomblob(32))))
"""
"""An outcome's id is a name of its decision's tenant, so that no index can hold it unique. Of a pre-training that an
earlier release noted nobody knows the tenant, which the empty name says."""

QUARANTINES = """
CREATE TABLE quarantines (
    seq INTEGER PRIMARY KEY, lifts INTEGER UNIQUE, strategy TEXT, reason TEXT NOT NULL, actor TEXT, at REAL NOT NULL,
    from_seq INTEGER CHECK (from_seq >= 0), upto_seq INTEGER CHECK (upto_seq > from_seq AND upto_seq < seq),
    CHECK ((lifts IS NULL) = (from_seq IS NOT NULL AND upto_seq IS NOT NULL))
) STRICT
"""

SHADOWED = "its decision is a shadow's, on which nobody acted; record what served"
EXPERIMENTS = """
CREATE TABLE experiments (
    seq INTEGER PRIMARY KEY, experiment TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('started', 'shares', 'ended', 'retired')),
    at REAL NOT NULL, actor TEXT, body TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_arm ON decisions (arm, seq) WHERE arm IS NOT NULL;
CREATE TRIGGER outcomes_of_a_shadow BEFORE INSERT ON outcomes
WHEN (SELECT source FROM decisions WHERE decision_id = NEW.decision_id) = 'shadow'
BEGIN SELECT RAISE(ABORT, 'its decision is a shadow''s, on which nobody acted; record what served'); END
"""
"""Nobody acts on what a shadow proposes, so that nothing can come of it."""

ACCESS_KEYS = """
CREATE TABLE access_keys (
    key_id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, scopes TEXT NOT NULL, tenant TEXT,
    origin TEXT CHECK (origin IN ('user', 'tool', 'judge', 'signal', 'horizon', 'import')),
    per_minute INTEGER CHECK (per_minute > 0), at REAL NOT NULL, revoked_at REAL
) STRICT
"""

MOVERS = """
ALTER TABLE alias_history ADD COLUMN actor TEXT;
CREATE INDEX IF NOT EXISTS decisions_by_arm ON decisions (arm, seq) WHERE arm IS NOT NULL
"""
"""Who moved an alias. The index is one that stores with schema 8 or 9 may lack: it came to ``EXPERIMENTS`` later."""
