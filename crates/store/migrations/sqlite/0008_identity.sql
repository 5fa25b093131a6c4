-- Public keys that an account proves itself with. `kind` leaves room for others than BRC identity keys.
CREATE TABLE identity_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL,
    public_key TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
);
CREATE UNIQUE INDEX identity_keys_key ON identity_keys (kind, public_key);
CREATE INDEX identity_keys_user ON identity_keys (user_id);

-- As a certifier has shown it.
ALTER TABLE users ADD COLUMN email TEXT;
