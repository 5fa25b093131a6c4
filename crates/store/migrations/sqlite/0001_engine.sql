-- What the engine itself needs: settings, durable jobs, the event log, reconcilers' last runs, sealed secrets.
-- Times are UTC milliseconds. Unique indexes are named, so that a violation has the same name on both engines.

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- At most one live job a kind and key.
    key TEXT,
    payload TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL CONSTRAINT jobs_state_check CHECK (state IN ('ready', 'running', 'done', 'dead')),
    -- When it may be claimed: its time if ready, the end of its lease if running.
    due_at INTEGER NOT NULL,
    -- Grows at each claim and never shrinks: whoever holds an older number is fenced off.
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    worker TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    -- NULL while the job is live.
    finished_at INTEGER
) STRICT;
CREATE UNIQUE INDEX jobs_live_key ON jobs (kind, key) WHERE key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_claimable ON jobs (priority DESC, due_at, id) WHERE finished_at IS NULL;
CREATE INDEX jobs_due ON jobs (due_at) WHERE finished_at IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE events (
    -- AUTOINCREMENT: a number is never given twice.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    project TEXT,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    subject_name TEXT NOT NULL,
    actor TEXT NOT NULL,
    source_address TEXT,
    request_id TEXT,
    outcome TEXT NOT NULL CONSTRAINT events_outcome_check CHECK (outcome IN ('allowed', 'denied', 'done', 'failed')),
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_project ON events (project, seq);
CREATE INDEX events_subject ON events (subject_id, seq);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE reconcilers (
    name TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    outcome TEXT CONSTRAINT reconcilers_outcome_check CHECK (outcome IN ('done', 'failed')),
    -- What the run left to do.
    backlog INTEGER NOT NULL,
    error TEXT,
    runs INTEGER NOT NULL,
    failures INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
    scope_kind TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    -- Which key sealed it; also inside `sealed`, here for the rotation to find.
    key_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, name)
) STRICT;
CREATE INDEX secrets_key ON secrets (key_id);
