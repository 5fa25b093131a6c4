-- Projects with members that have roles, variables that all their instances get, and quotas.
ALTER TABLE projects ADD COLUMN network TEXT NOT NULL DEFAULT 'mainnet'
    CONSTRAINT projects_network_check CHECK (network IN ('mainnet', 'testnet'));
-- Whether its agents are given its key pair, and money on the chain.
ALTER TABLE projects ADD COLUMN funding INTEGER NOT NULL DEFAULT 0;
-- The public part, in hex; the private one is sealed.
ALTER TABLE projects ADD COLUMN agent_key TEXT;

ALTER TABLE members ADD COLUMN added_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE project_env (
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    -- NULL for a secret, whose value is sealed.
    value TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT;

-- NULL: what the installation allows everybody.
CREATE TABLE quotas (
    project_id TEXT PRIMARY KEY REFERENCES projects (id),
    instances INTEGER,
    -- Thousandths of a core.
    cpus INTEGER,
    -- Bytes.
    memory INTEGER,
    disk INTEGER,
    tasks INTEGER
) STRICT;
