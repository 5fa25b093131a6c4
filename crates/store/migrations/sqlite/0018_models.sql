-- The model gateway: who answers calls of models, what they offer and cost, who may spend how much, and every call.

CREATE TABLE model_providers (
    -- What people call it; routes and prices name it.
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    -- Its key is sealed, in `secrets`.
    has_key INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    local INTEGER NOT NULL,
    -- Time-outs, limits: JSON.
    options TEXT NOT NULL,
    -- The last look at what it offers, and what went wrong.
    checked_at INTEGER,
    problem TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE models (
    provider TEXT NOT NULL REFERENCES model_providers (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- What the provider says of it: JSON.
    found TEXT NOT NULL,
    -- What an operator says instead: JSON.
    stated TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    -- The provider offers it now; others stay for what an operator said of them.
    offered INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (provider, name)
) STRICT;

-- Names of ours for models of providers, in the order in which they are tried: JSON.
CREATE TABLE model_routes (
    name TEXT PRIMARY KEY,
    candidates TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Satoshis for a million tokens; versions are only ever added, and each is in force from a moment on.
CREATE TABLE model_prices (
    version INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    -- Of all models of the provider that have none of their own when empty.
    model TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    output INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX model_prices_model ON model_prices (provider, model, from_at, version);
CREATE TRIGGER model_prices_no_update BEFORE UPDATE ON model_prices
    BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;
CREATE TRIGGER model_prices_no_delete BEFORE DELETE ON model_prices
    BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;

-- Of one project; of all when the id is empty.
CREATE TABLE model_rules (
    project_id TEXT PRIMARY KEY,
    stopped_at INTEGER,
    stopped_by TEXT,
    -- Its calls may go to providers outside.
    external INTEGER NOT NULL,
    keep_prompts INTEGER NOT NULL,
    -- Left of a satoshi, in millionths, for the next call.
    rest INTEGER NOT NULL
) STRICT;

CREATE TABLE model_budgets (
    -- `project`, `user` or `instance`.
    scope TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    -- `tokens` or `satoshis`.
    unit TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope, scope_id, unit, period)
) STRICT;

-- What was spent and is set aside; money in millionths of a satoshi.
CREATE TABLE model_spending (
    scope TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    period TEXT NOT NULL,
    period_start INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    tokens_held INTEGER NOT NULL,
    microsats INTEGER NOT NULL,
    microsats_held INTEGER NOT NULL,
    PRIMARY KEY (scope, scope_id, period, period_start)
) STRICT;
CREATE INDEX model_spending_period ON model_spending (period_start);

-- Set aside for a call that is under way.
CREATE TABLE model_holds (
    -- The call's.
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    model TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    microsats INTEGER NOT NULL,
    -- Of the ledger, where money is set aside.
    reservation_id TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX model_holds_expiry ON model_holds (expires_at);

CREATE TABLE model_calls (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    -- As it was asked for, and what answered.
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    -- Why this one.
    reason TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    output INTEGER NOT NULL,
    -- Tokens were counted by us, since the provider said nothing.
    estimated INTEGER NOT NULL,
    microsats INTEGER NOT NULL,
    -- What was charged; the rest is carried to the next call.
    satoshis INTEGER NOT NULL,
    price_version INTEGER,
    millis INTEGER NOT NULL,
    first_byte_millis INTEGER
) STRICT;
CREATE INDEX model_calls_project ON model_calls (project_id, at);
CREATE INDEX model_calls_at ON model_calls (at);
