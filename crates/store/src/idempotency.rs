//! Idempotency keys: which request a client's key stood for first, and what that request made.
//!
//! A key is claimed in the transaction that makes the thing, so a second claim waits for the first and then sees what
//! it made; what is rolled back leaves the key free. Requests hold secrets, so only a keyed fingerprint of one is
//! stored. A secret that an answer showed is sealed like any other, and goes with its key.

use ryokan_model::{Millis, Secret, UserId};

use crate::{Result, Scope, Seal, Tx, params};

/// How long a key is remembered, in milliseconds: a day.
pub const IDEMPOTENCY_WINDOW: i64 = 24 * 3600 * 1000;

const SECRETS: &str = "idempotency";

/// What a key stood for until now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: it stands for this request from now on.
    First,
    /// This very request, which made the thing with this id.
    Again(String),
    /// Another request.
    Taken,
}

impl Tx<'_> {
    /// Takes the user's `key` for a request that is about to make `subject_id`. `fingerprints` are the request's, one
    /// for each key of the ring ([`Seal::fingerprints`]), never empty.
    pub fn claim_idempotency_key(
        &mut self,
        user: UserId,
        key: &str,
        fingerprints: &[String],
        subject_id: &str,
        now: Millis,
    ) -> Result<Claimed> {
        let expired = now.0.saturating_sub(IDEMPOTENCY_WINDOW);
        self.execute(
            "DELETE FROM idempotency WHERE user_id = $1 AND key = $2 AND created_at <= $3",
            params![user.to_string(), key, expired],
        )?;
        let inserted = self.execute(
            "INSERT INTO idempotency (user_id, key, request_hash, subject_id, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id, key) DO NOTHING",
            params![user.to_string(), key, fingerprints.first(), subject_id, now.0],
        )?;
        if inserted > 0 {
            return Ok(Claimed::First);
        }
        let row = self.query_one(
            "SELECT request_hash, subject_id FROM idempotency WHERE user_id = $1 AND key = $2",
            params![user.to_string(), key],
        )?;
        let same = fingerprints.contains(&row.text("request_hash")?);
        Ok(if same { Claimed::Again(row.text("subject_id")?) } else { Claimed::Taken })
    }

    /// Seals the secret that the answer to a claimed request shows, for whoever asks again.
    pub fn put_idempotent_secret(
        &mut self,
        seal: &Seal,
        user: UserId,
        key: &str,
        secret: &Secret,
        now: Millis,
    ) -> Result<()> {
        self.put_secret(seal, &Scope::new(SECRETS, user.to_string()), key, secret, now.0)
    }

    /// The secret that the first answer showed.
    pub fn idempotent_secret(&mut self, seal: &Seal, user: UserId, key: &str) -> Result<Option<Secret>> {
        self.get_secret(seal, &Scope::new(SECRETS, user.to_string()), key)
    }

    /// Forgets keys that are older than the window, and their secrets; how many rows that were.
    pub fn purge_idempotency_keys(&mut self, now: Millis) -> Result<u64> {
        let expired = now.0.saturating_sub(IDEMPOTENCY_WINDOW);
        let secrets = self.execute(
            "DELETE FROM secrets WHERE scope_kind = $1 AND updated_at <= $2",
            params![SECRETS, expired],
        )?;
        Ok(secrets + self.execute("DELETE FROM idempotency WHERE created_at <= $1", params![expired])?)
    }
}
