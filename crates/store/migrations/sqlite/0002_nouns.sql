CREATE TABLE users (
    id TEXT PRIMARY KEY,
    login TEXT NOT NULL,
    name TEXT NOT NULL,
    operator INTEGER NOT NULL,
    password_hash TEXT,
    disabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX users_login ON users (login);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    personal INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
);
CREATE UNIQUE INDEX projects_name ON projects (name) WHERE deleted_at IS NULL;

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE registries (
    project_id TEXT NOT NULL REFERENCES projects (id),
    host TEXT NOT NULL,
    username TEXT NOT NULL,
    PRIMARY KEY (project_id, host)
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    label TEXT NOT NULL,
    hash TEXT NOT NULL,
    scope TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_user ON tokens (user_id);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE login_links (
    hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    expires_at INTEGER NOT NULL
);

CREATE TABLE templates (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    builtin INTEGER NOT NULL,
    edited INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    template TEXT NOT NULL,
    spec TEXT NOT NULL,
    desired TEXT NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    message TEXT,
    generation INTEGER NOT NULL,
    image_generation INTEGER NOT NULL,
    image_id TEXT,
    image_digest TEXT,
    restart_wanted INTEGER NOT NULL,
    restart_done INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    exit_code INTEGER,
    previous TEXT,
    taken_back TEXT,
    retry_at INTEGER,
    endpoints TEXT NOT NULL,
    reach TEXT,
    keep_volumes INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);
CREATE UNIQUE INDEX instances_name ON instances (name) WHERE deleted_at IS NULL;
CREATE INDEX instances_project ON instances (project_id);

CREATE TABLE idempotency (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
);
