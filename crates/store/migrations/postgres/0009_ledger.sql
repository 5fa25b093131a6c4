-- Metering and the ledger. Amounts are whole satoshis; times UTC milliseconds. What is posted, priced or measured is
-- never changed; triggers see to it.

CREATE TABLE accounts (
    -- `project:ID`, `revenue:cpu`, `payments`, ...
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C",
    -- The sum of its entries, and how many there are: kept in the transaction that posts them.
    balance BIGINT NOT NULL,
    entries BIGINT NOT NULL
);

CREATE TABLE ledger_transactions (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    -- Of a charge for usage: the start of its five minutes.
    interval_start BIGINT,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    price_version BIGINT,
    -- What it may happen once for: a payment's prefix, a reservation.
    reference TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX ledger_transactions_interval ON ledger_transactions (project_id, interval_start)
    WHERE interval_start IS NOT NULL;
CREATE UNIQUE INDEX ledger_transactions_reference ON ledger_transactions (kind, reference) WHERE reference IS NOT NULL;
CREATE INDEX ledger_transactions_project ON ledger_transactions (project_id, created_at);

CREATE TABLE ledger_entries (
    account_id TEXT COLLATE "C" NOT NULL REFERENCES accounts (id),
    -- Counts the entries of its account, without gaps.
    seq BIGINT NOT NULL,
    transaction_id TEXT COLLATE "C" NOT NULL REFERENCES ledger_transactions (id),
    amount BIGINT NOT NULL CONSTRAINT ledger_entries_amount CHECK (amount <> 0),
    balance_after BIGINT NOT NULL,
    PRIMARY KEY (account_id, seq)
);
CREATE INDEX ledger_entries_transaction ON ledger_entries (transaction_id);

CREATE FUNCTION refuse_ledger() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER ledger_transactions_no_update BEFORE UPDATE ON ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();
CREATE TRIGGER ledger_transactions_no_delete BEFORE DELETE ON ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();
CREATE TRIGGER ledger_entries_no_update BEFORE UPDATE ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();
CREATE TRIGGER ledger_entries_no_delete BEFORE DELETE ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();

CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger();
-- SQLite has nothing that is checked at the commit; there the code alone sees to it.
CREATE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM ledger_entries WHERE transaction_id = NEW.transaction_id) <> 0 THEN
        RAISE EXCEPTION 'a ledger transaction does not sum to zero';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger_balances();

CREATE TABLE prices (
    version BIGINT PRIMARY KEY,
    -- Of one project; of all others when empty.
    project_id TEXT COLLATE "C" NOT NULL,
    from_at BIGINT NOT NULL,
    -- The project pays what all others pay again; its rates are zero then.
    cleared BOOLEAN NOT NULL,
    core BIGINT NOT NULL,
    memory_gb BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    network_gb BIGINT NOT NULL,
    gpu BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX prices_project ON prices (project_id, from_at, version);
CREATE FUNCTION refuse_prices() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'prices are append-only'; END $$;
CREATE TRIGGER prices_no_update BEFORE UPDATE ON prices FOR EACH STATEMENT EXECUTE FUNCTION refuse_prices();
CREATE TRIGGER prices_no_delete BEFORE DELETE ON prices FOR EACH STATEMENT EXECUTE FUNCTION refuse_prices();

CREATE TABLE usage_samples (
    instance_id TEXT COLLATE "C" NOT NULL,
    -- One run of one container, or the volumes: within it counters only grow.
    epoch TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    baseline BOOLEAN NOT NULL,
    cpu_nanos BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes BIGINT NOT NULL,
    network_bytes BIGINT NOT NULL,
    gpu_millis BIGINT NOT NULL,
    PRIMARY KEY (instance_id, epoch, at)
);
CREATE INDEX usage_samples_at ON usage_samples (at);

CREATE TABLE usage_intervals (
    project_id TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    cpu_nanos BIGINT NOT NULL,
    memory_byte_millis BIGINT NOT NULL,
    disk_byte_millis BIGINT NOT NULL,
    network_bytes BIGINT NOT NULL,
    gpu_millis BIGINT NOT NULL,
    -- Its share of the charge, in millionths of a satoshi.
    microsats BIGINT NOT NULL,
    PRIMARY KEY (project_id, start, instance_id)
);
CREATE INDEX usage_intervals_start ON usage_intervals (start);

-- An interval of a project that is closed: nothing about it changes any more.
CREATE TABLE billed_intervals (
    project_id TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    -- Nothing was charged when there is none: billing was off.
    price_version BIGINT,
    charged BIGINT NOT NULL,
    -- Left of a satoshi of each resource, for the next interval.
    rest_cpu BIGINT NOT NULL,
    rest_memory BIGINT NOT NULL,
    rest_disk BIGINT NOT NULL,
    rest_network BIGINT NOT NULL,
    rest_gpu BIGINT NOT NULL,
    PRIMARY KEY (project_id, start)
);
CREATE INDEX billed_intervals_start ON billed_intervals (start);
CREATE FUNCTION refuse_billed() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'billed intervals are final'; END $$;
CREATE TRIGGER billed_intervals_no_update BEFORE UPDATE ON billed_intervals FOR EACH STATEMENT EXECUTE FUNCTION refuse_billed();

-- Where a project stands, and whom to tell.
CREATE TABLE billing (
    project_id TEXT COLLATE "C" PRIMARY KEY,
    -- Since when its balance has been below zero.
    below_since BIGINT,
    suspended_at BIGINT,
    -- `balance` or `cap`.
    suspended_for TEXT,
    -- Of a cap: when its period turns.
    suspended_until BIGINT,
    email TEXT,
    webhook_url TEXT
);
CREATE INDEX billing_watched ON billing (project_id) WHERE below_since IS NOT NULL OR suspended_at IS NOT NULL;

CREATE TABLE caps (
    project_id TEXT COLLATE "C" NOT NULL,
    -- Of the whole project when empty.
    instance_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, instance_id, kind, period)
);

-- What was spent and is reserved, in millionths of a satoshi.
CREATE TABLE spending (
    project_id TEXT COLLATE "C" NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    period_start BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    PRIMARY KEY (project_id, instance_id, kind, period, period_start)
);
CREATE INDEX spending_period ON spending (period_start);

CREATE TABLE reservations (
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    instance_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- NULL while it is open.
    closed_at BIGINT,
    settled BIGINT
);
CREATE INDEX reservations_open ON reservations (project_id, expires_at) WHERE closed_at IS NULL;
CREATE INDEX reservations_closed ON reservations (closed_at) WHERE closed_at IS NOT NULL;

-- A request to pay: bound to who, what for and how much, good for one payment.
CREATE TABLE payment_requests (
    prefix TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL,
    identity TEXT NOT NULL,
    amount BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- What it was spent on.
    txid TEXT,
    transaction_id TEXT COLLATE "C"
);
-- One output of one payment is credited once, whatever prefix it comes with.
CREATE UNIQUE INDEX payment_requests_txid ON payment_requests (txid) WHERE txid IS NOT NULL;
CREATE INDEX payment_requests_open ON payment_requests (expires_at) WHERE txid IS NULL;

-- Why the server keeps it from running, whatever its user wants: `balance` or `cap`.
ALTER TABLE instances ADD COLUMN suspended TEXT;
