//! Public keys as credentials of accounts, and the address that a certificate has shown.

use ryokan_model::{IdentityKeyId, Millis, UserId};

use crate::{Result, Row, Tx, params};

/// A key of an account. No two accounts have the same.
#[derive(Debug, Clone)]
pub struct IdentityKey {
    pub id: IdentityKeyId,
    pub user: UserId,
    /// `brc`: a compressed secp256k1 key.
    pub kind: String,
    /// 66 small hexadecimal digits.
    pub public_key: String,
    pub label: String,
    pub created_at: Millis,
    pub last_used_at: Option<Millis>,
}

fn key(row: &Row) -> Result<IdentityKey> {
    Ok(IdentityKey {
        id: row.parse("id")?,
        user: row.parse("user_id")?,
        kind: row.text("kind")?,
        public_key: row.text("public_key")?,
        label: row.text("label")?,
        created_at: Millis(row.int("created_at")?),
        last_used_at: row.opt_int("last_used_at")?.map(Millis),
    })
}

impl Tx<'_> {
    /// A key that somebody has is `UniqueViolation` of `identity_keys_key`.
    pub fn insert_identity_key(&mut self, key: &IdentityKey) -> Result<()> {
        self.execute(
            "INSERT INTO identity_keys (id, user_id, kind, public_key, label, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            params![
                key.id.to_string(),
                key.user.to_string(),
                &key.kind,
                &key.public_key,
                &key.label,
                key.created_at.0
            ],
        )?;
        self.notify("users");
        Ok(())
    }

    pub fn identity_key(&mut self, kind: &str, public_key: &str) -> Result<Option<IdentityKey>> {
        self.query_opt(
            "SELECT * FROM identity_keys WHERE kind = $1 AND public_key = $2",
            params![kind, public_key],
        )?
        .as_ref()
        .map(key)
        .transpose()
    }

    /// The account's keys, oldest first.
    pub fn identity_keys_of(&mut self, user: UserId) -> Result<Vec<IdentityKey>> {
        self.query("SELECT * FROM identity_keys WHERE user_id = $1 ORDER BY id", params![user.to_string()])?
            .iter()
            .map(key)
            .collect()
    }

    /// Everybody's, after the key `after`.
    pub fn identity_keys(&mut self, after: &str, limit: u32) -> Result<Vec<IdentityKey>> {
        self.query("SELECT * FROM identity_keys WHERE id > $1 ORDER BY id LIMIT $2", params![after, limit])?
            .iter()
            .map(key)
            .collect()
    }

    /// Whether there was one.
    pub fn delete_identity_key(&mut self, id: IdentityKeyId) -> Result<bool> {
        self.notify("users");
        Ok(self.execute("DELETE FROM identity_keys WHERE id = $1", params![id.to_string()])? > 0)
    }

    /// Not signalled: nobody waits for it.
    pub fn touch_identity_key(&mut self, id: IdentityKeyId, now: Millis) -> Result<()> {
        self.execute(
            "UPDATE identity_keys SET last_used_at = $2 WHERE id = $1",
            params![id.to_string(), now.0],
        )
        .map(drop)
    }

    pub fn set_email(&mut self, user: UserId, email: &str, now: Millis) -> Result<()> {
        self.notify("users");
        self.execute(
            "UPDATE users SET email = $2, updated_at = $3 WHERE id = $1",
            params![user.to_string(), email, now.0],
        )
        .map(drop)
    }
}
