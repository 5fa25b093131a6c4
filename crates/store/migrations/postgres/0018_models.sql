-- The model gateway: who answers calls of models, what they offer and cost, who may spend how much, and every call.

CREATE TABLE model_providers (
    -- What people call it; routes and prices name it.
    name TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    -- Its key is sealed, in `secrets`.
    has_key BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    local BOOLEAN NOT NULL,
    -- Time-outs, limits: JSON.
    options TEXT NOT NULL,
    -- The last look at what it offers, and what went wrong.
    checked_at BIGINT,
    problem TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE models (
    provider TEXT COLLATE "C" NOT NULL REFERENCES model_providers (name) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    -- What the provider says of it: JSON.
    found TEXT NOT NULL,
    -- What an operator says instead: JSON.
    stated TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    -- The provider offers it now; others stay for what an operator said of them.
    offered BOOLEAN NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider, name)
);

-- Names of ours for models of providers, in the order in which they are tried: JSON.
CREATE TABLE model_routes (
    name TEXT COLLATE "C" PRIMARY KEY,
    candidates TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Satoshis for a million tokens; versions are only ever added, and each is in force from a moment on.
CREATE TABLE model_prices (
    version BIGINT PRIMARY KEY,
    provider TEXT COLLATE "C" NOT NULL,
    -- Of all models of the provider that have none of their own when empty.
    model TEXT COLLATE "C" NOT NULL,
    from_at BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX model_prices_model ON model_prices (provider, model, from_at, version);
CREATE FUNCTION refuse_model_prices() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'prices are append-only'; END $$;
CREATE TRIGGER model_prices_no_change BEFORE UPDATE OR DELETE ON model_prices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_model_prices();
CREATE TRIGGER model_prices_no_truncate BEFORE TRUNCATE ON model_prices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_model_prices();

-- Of one project; of all when the id is empty.
CREATE TABLE model_rules (
    project_id TEXT COLLATE "C" PRIMARY KEY,
    stopped_at BIGINT,
    stopped_by TEXT,
    -- Its calls may go to providers outside.
    external BOOLEAN NOT NULL,
    keep_prompts BOOLEAN NOT NULL,
    -- Left of a satoshi, in millionths, for the next call.
    rest BIGINT NOT NULL
);

CREATE TABLE model_budgets (
    -- `project`, `user` or `instance`.
    scope TEXT COLLATE "C" NOT NULL,
    scope_id TEXT COLLATE "C" NOT NULL,
    -- `tokens` or `satoshis`.
    unit TEXT COLLATE "C" NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (scope, scope_id, unit, period)
);

-- What was spent and is set aside; money in millionths of a satoshi.
CREATE TABLE model_spending (
    scope TEXT COLLATE "C" NOT NULL,
    scope_id TEXT COLLATE "C" NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    period_start BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    tokens_held BIGINT NOT NULL,
    microsats BIGINT NOT NULL,
    microsats_held BIGINT NOT NULL,
    PRIMARY KEY (scope, scope_id, period, period_start)
);
CREATE INDEX model_spending_period ON model_spending (period_start);

-- Set aside for a call that is under way.
CREATE TABLE model_holds (
    -- The call's.
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    tokens BIGINT NOT NULL,
    microsats BIGINT NOT NULL,
    -- Of the ledger, where money is set aside.
    reservation_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX model_holds_expiry ON model_holds (expires_at);

CREATE TABLE model_calls (
    id TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    endpoint TEXT NOT NULL,
    -- As it was asked for, and what answered.
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    upstream_model TEXT NOT NULL,
    -- Why this one.
    reason TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    output BIGINT NOT NULL,
    -- Tokens were counted by us, since the provider said nothing.
    estimated BOOLEAN NOT NULL,
    microsats BIGINT NOT NULL,
    -- What was charged; the rest is carried to the next call.
    satoshis BIGINT NOT NULL,
    price_version BIGINT,
    millis BIGINT NOT NULL,
    first_byte_millis BIGINT
);
CREATE INDEX model_calls_project ON model_calls (project_id, at);
CREATE INDEX model_calls_at ON model_calls (at);
