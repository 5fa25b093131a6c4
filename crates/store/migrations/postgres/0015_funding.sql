-- Money on the chain that is ours to spend, and what is sent of it to the agents of projects that ask for it.

-- What a payment's output was derived with, beside its prefix: without it the output cannot be spent.
ALTER TABLE payment_requests ADD COLUMN received_suffix TEXT;

-- An output of ours. Its key is derived from these and the server's own, and is nowhere.
CREATE TABLE coins (
    txid TEXT NOT NULL,
    output BIGINT NOT NULL,
    network TEXT NOT NULL,
    satoshis BIGINT NOT NULL CONSTRAINT coins_satoshis CHECK (satoshis > 0),
    -- The identity key of who paid; our own for change.
    counterparty TEXT NOT NULL,
    prefix TEXT NOT NULL,
    suffix TEXT NOT NULL,
    -- What spends it, or is about to.
    top_up_id TEXT,
    -- How often the network refused a transaction that spends it.
    refusals BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (txid, output)
);
CREATE INDEX coins_free ON coins (network, satoshis) WHERE top_up_id IS NULL;
CREATE INDEX coins_top_up ON coins (top_up_id) WHERE top_up_id IS NOT NULL;

-- A transaction to a project's agents, from the moment that its outputs are chosen.
CREATE TABLE top_ups (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    network TEXT NOT NULL,
    -- Of whom it is for: a public key in hex.
    agent_key TEXT NOT NULL,
    reservation_id TEXT NOT NULL,
    amount BIGINT NOT NULL,
    fee BIGINT NOT NULL,
    -- Back to us; zero for none.
    change BIGINT NOT NULL,
    -- `open`, `sent` or `refused`.
    state TEXT NOT NULL,
    txid TEXT,
    -- For the broadcast; empty once it is over.
    extended BYTEA,
    reason TEXT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE UNIQUE INDEX top_ups_open ON top_ups (project_id) WHERE state = 'open';
CREATE INDEX top_ups_project ON top_ups (project_id, created_at);

-- What was last seen of the agents' money.
CREATE TABLE funding (
    project_id TEXT PRIMARY KEY,
    balance BIGINT,
    checked_at BIGINT NOT NULL,
    -- Why it is not topped up, although it is low.
    refused TEXT
);
