-- Metering and the ledger. Amounts are whole satoshis; times UTC milliseconds. What is posted, priced or measured is
-- never changed; triggers see to it.

CREATE TABLE accounts (
    -- `project:ID`, `revenue:cpu`, `payments`, ...
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    project_id TEXT,
    -- The sum of its entries, and how many there are: kept in the transaction that posts them.
    balance INTEGER NOT NULL,
    entries INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger_transactions (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    project_id TEXT NOT NULL,
    -- Of a charge for usage: the start of its five minutes.
    interval_start INTEGER,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    price_version INTEGER,
    -- What it may happen once for: a payment's prefix, a reservation.
    reference TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ledger_transactions_interval ON ledger_transactions (project_id, interval_start)
    WHERE interval_start IS NOT NULL;
CREATE UNIQUE INDEX ledger_transactions_reference ON ledger_transactions (kind, reference) WHERE reference IS NOT NULL;
CREATE INDEX ledger_transactions_project ON ledger_transactions (project_id, created_at);

CREATE TABLE ledger_entries (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    -- Counts the entries of its account, without gaps.
    seq INTEGER NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES ledger_transactions (id),
    amount INTEGER NOT NULL CONSTRAINT ledger_entries_amount CHECK (amount <> 0),
    balance_after INTEGER NOT NULL,
    PRIMARY KEY (account_id, seq)
) STRICT;
CREATE INDEX ledger_entries_transaction ON ledger_entries (transaction_id);

CREATE TRIGGER ledger_transactions_no_update BEFORE UPDATE ON ledger_transactions
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_transactions_no_delete BEFORE DELETE ON ledger_transactions
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_entries_no_update BEFORE UPDATE ON ledger_entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_entries_no_delete BEFORE DELETE ON ledger_entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TABLE prices (
    version INTEGER PRIMARY KEY,
    -- Of one project; of all others when empty.
    project_id TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    -- The project pays what all others pay again; its rates are zero then.
    cleared INTEGER NOT NULL,
    core INTEGER NOT NULL,
    memory_gb INTEGER NOT NULL,
    disk_gb INTEGER NOT NULL,
    network_gb INTEGER NOT NULL,
    gpu INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX prices_project ON prices (project_id, from_at, version);
CREATE TRIGGER prices_no_update BEFORE UPDATE ON prices BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;
CREATE TRIGGER prices_no_delete BEFORE DELETE ON prices BEGIN SELECT RAISE(ABORT, 'prices are append-only'); END;

CREATE TABLE usage_samples (
    instance_id TEXT NOT NULL,
    -- One run of one container, or the volumes: within it counters only grow.
    epoch TEXT NOT NULL,
    at INTEGER NOT NULL,
    project_id TEXT NOT NULL,
    baseline INTEGER NOT NULL,
    cpu_nanos INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    network_bytes INTEGER NOT NULL,
    gpu_millis INTEGER NOT NULL,
    PRIMARY KEY (instance_id, epoch, at)
) STRICT;
CREATE INDEX usage_samples_at ON usage_samples (at);

CREATE TABLE usage_intervals (
    project_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    instance_id TEXT NOT NULL,
    cpu_nanos INTEGER NOT NULL,
    memory_byte_millis INTEGER NOT NULL,
    disk_byte_millis INTEGER NOT NULL,
    network_bytes INTEGER NOT NULL,
    gpu_millis INTEGER NOT NULL,
    -- Its share of the charge, in millionths of a satoshi.
    microsats INTEGER NOT NULL,
    PRIMARY KEY (project_id, start, instance_id)
) STRICT;
CREATE INDEX usage_intervals_start ON usage_intervals (start);

-- An interval of a project that is closed: nothing about it changes any more.
CREATE TABLE billed_intervals (
    project_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    -- Nothing was charged when there is none: billing was off.
    price_version INTEGER,
    charged INTEGER NOT NULL,
    -- Left of a satoshi of each resource, for the next interval.
    rest_cpu INTEGER NOT NULL,
    rest_memory INTEGER NOT NULL,
    rest_disk INTEGER NOT NULL,
    rest_network INTEGER NOT NULL,
    rest_gpu INTEGER NOT NULL,
    PRIMARY KEY (project_id, start)
) STRICT;
CREATE INDEX billed_intervals_start ON billed_intervals (start);
CREATE TRIGGER billed_intervals_no_update BEFORE UPDATE ON billed_intervals
    BEGIN SELECT RAISE(ABORT, 'billed intervals are final'); END;

-- Where a project stands, and whom to tell.
CREATE TABLE billing (
    project_id TEXT PRIMARY KEY,
    -- Since when its balance has been below zero.
    below_since INTEGER,
    suspended_at INTEGER,
    -- `balance` or `cap`.
    suspended_for TEXT,
    -- Of a cap: when its period turns.
    suspended_until INTEGER,
    email TEXT,
    webhook_url TEXT
) STRICT;
CREATE INDEX billing_watched ON billing (project_id) WHERE below_since IS NOT NULL OR suspended_at IS NOT NULL;

CREATE TABLE caps (
    project_id TEXT NOT NULL,
    -- Of the whole project when empty.
    instance_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, instance_id, kind, period)
) STRICT;

-- What was spent and is reserved, in millionths of a satoshi.
CREATE TABLE spending (
    project_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    period TEXT NOT NULL,
    period_start INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (project_id, instance_id, kind, period, period_start)
) STRICT;
CREATE INDEX spending_period ON spending (period_start);

CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- NULL while it is open.
    closed_at INTEGER,
    settled INTEGER
) STRICT;
CREATE INDEX reservations_open ON reservations (project_id, expires_at) WHERE closed_at IS NULL;
CREATE INDEX reservations_closed ON reservations (closed_at) WHERE closed_at IS NOT NULL;

-- A request to pay: bound to who, what for and how much, good for one payment.
CREATE TABLE payment_requests (
    prefix TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    identity TEXT NOT NULL,
    amount INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- What it was spent on.
    txid TEXT,
    transaction_id TEXT
) STRICT;
-- One output of one payment is credited once, whatever prefix it comes with.
CREATE UNIQUE INDEX payment_requests_txid ON payment_requests (txid) WHERE txid IS NOT NULL;
CREATE INDEX payment_requests_open ON payment_requests (expires_at) WHERE txid IS NULL;

-- Why the server keeps it from running, whatever its user wants: `balance` or `cap`.
ALTER TABLE instances ADD COLUMN suspended TEXT;
