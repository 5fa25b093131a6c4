-- What the engine itself needs: settings, durable jobs, the event log, reconcilers' last runs, sealed secrets.
-- Times are UTC milliseconds. Unique indexes are named, so that a violation has the same name on both engines.

-- SQLite has this built in: `SELECT value FROM json_each(CAST($1 AS TEXT))` is a list of strings on both.
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT) LANGUAGE sql IMMUTABLE ROWS 10 AS
    'SELECT jsonb_array_elements_text(list::jsonb)';

-- COLLATE "C": ordered by bytes, as SQLite does, whatever the database's locale.
CREATE TABLE settings (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE jobs (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    -- At most one live job a kind and key.
    key TEXT,
    payload TEXT NOT NULL,
    priority BIGINT NOT NULL,
    state TEXT NOT NULL CONSTRAINT jobs_state_check CHECK (state IN ('ready', 'running', 'done', 'dead')),
    -- When it may be claimed: its time if ready, the end of its lease if running.
    due_at BIGINT NOT NULL,
    -- Grows at each claim and never shrinks: whoever holds an older number is fenced off.
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    worker TEXT,
    error TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    -- NULL while the job is live.
    finished_at BIGINT
);
CREATE UNIQUE INDEX jobs_live_key ON jobs (kind, key) WHERE key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_claimable ON jobs (priority DESC, due_at, id) WHERE finished_at IS NULL;
CREATE INDEX jobs_due ON jobs (due_at) WHERE finished_at IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Numbers are taken before commits, out of their order, so a reader must know how far it may trust them. Who is about
-- to take numbers holds a shared lock, until its commit is visible, named after the last number given before: all of
-- its numbers are greater. Nobody waits for anybody.
CREATE SEQUENCE event_numbers;

CREATE FUNCTION begin_events() RETURNS VOID LANGUAGE sql VOLATILE AS
    'SELECT pg_advisory_xact_lock_shared(1917468521, CAST((last_value - 1) % 2147483648 AS INTEGER)) FROM event_numbers';

-- `settled`: each number up to it is visible to a snapshot taken after this call, or will never be. `latest`: the last
-- number given. The order of the two steps matters.
CREATE FUNCTION event_bound(OUT settled BIGINT, OUT latest BIGINT) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    base BIGINT;
    oldest BIGINT;
BEGIN
    SELECT last_value - 1, CASE WHEN is_called THEN last_value ELSE 0 END INTO base, latest FROM event_numbers;
    SELECT max((((base - CAST(objid AS BIGINT)) % 2147483648) + 2147483648) % 2147483648) INTO oldest FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 1917468521 AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    settled := least(latest, base - oldest);
END $$;

CREATE TABLE events (
    seq BIGINT PRIMARY KEY DEFAULT nextval('event_numbers'),
    at BIGINT NOT NULL,
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
);
CREATE INDEX events_project ON events (project, seq);
CREATE INDEX events_subject ON events (subject_id, seq);
CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_append_only();
CREATE TRIGGER events_no_delete BEFORE DELETE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_append_only();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_append_only();

CREATE TABLE reconcilers (
    name TEXT COLLATE "C" PRIMARY KEY,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    outcome TEXT CONSTRAINT reconcilers_outcome_check CHECK (outcome IN ('done', 'failed')),
    -- What the run left to do.
    backlog BIGINT NOT NULL,
    error TEXT,
    runs BIGINT NOT NULL,
    failures BIGINT NOT NULL
);

CREATE TABLE secrets (
    scope_kind TEXT COLLATE "C" NOT NULL,
    scope_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    -- Which key sealed it; also inside `sealed`, here for the rotation to find.
    key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope_kind, scope_id, name)
);
CREATE INDEX secrets_key ON secrets (key_id);
