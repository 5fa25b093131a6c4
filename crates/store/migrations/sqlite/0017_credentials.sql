-- Credentials that agents use and never see. Their values are in `secrets`.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    -- Absent for those of the whole installation.
    project_id TEXT,
    name TEXT NOT NULL,
    -- Kind, hosts, methods, paths, instances, variable: JSON.
    spec TEXT NOT NULL,
    -- What sandboxes hold in its place.
    placeholder TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL,
    -- Grows with each change of anything; what was opened with another one is cut.
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- Of the value.
    rotated_at INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
CREATE UNIQUE INDEX credentials_name ON credentials (COALESCE(project_id, ''), name);
