-- A transaction that answers a request to pay, from the moment that its proof was found good: it is kept before the
-- network is told, so that nobody pays without being credited.
ALTER TABLE payment_requests ADD COLUMN received BLOB;
ALTER TABLE payment_requests ADD COLUMN received_txid TEXT;
-- What its output holds.
ALTER TABLE payment_requests ADD COLUMN received_amount INTEGER;
CREATE INDEX payment_requests_received ON payment_requests (received_txid) WHERE received_txid IS NOT NULL;
