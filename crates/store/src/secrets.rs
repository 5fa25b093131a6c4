//! Sealed secrets by scope and name, the check that the right key is loaded, and the rotation to a new key.
//!
//! The setting `sealing_key` names the key that seals, proven by a value sealed with it. A server whose ring does not
//! hold that key is refused at start; one that seals with another (a rotation went past it) is refused at its next
//! write, so no row can appear under a key that is about to be thrown away.

use std::path::Path;
use std::sync::Arc;

use crate::dialect::Dialect;
use ryokan_model::Secret;

use crate::error::{Result, StoreError};
use crate::key_file;
use crate::params;
use crate::row::Row;
use crate::seal::{Key, KeyId, Scope, Seal, key_of};
use crate::store::Store;
use crate::tx::Tx;

/// The setting that holds the check.
const CHECK: &str = "sealing_key";
/// Secrets sealed anew in one transaction.
const BATCH: u32 = 100;

/// A secret's name and times, UTC milliseconds; never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    pub name: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// What the check of the key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCheck {
    /// Everything is sealed with the ring's first key.
    Current,
    /// The ring can open everything, but a rotation to its first key is not finished: call [`rotate`].
    RotationPending,
}

impl Tx<'_> {
    /// Checks at start that `seal` is the ring of this database; the first call binds the two. A wrong key is refused
    /// here, not at the first secret.
    pub fn check_key(&mut self, seal: &Seal, now_ms: i64) -> Result<KeyCheck> {
        let sealed_by = self.sealing_key(seal, now_ms)?;
        let others = self.query_opt(
            "SELECT name FROM secrets WHERE key_id <> $1 LIMIT 1",
            params![seal.current().to_string()],
        )?;
        let current = sealed_by == seal.current() && others.is_none() && seal.keys().len() == 1;
        Ok(if current { KeyCheck::Current } else { KeyCheck::RotationPending })
    }

    /// Stores a secret, replacing the one of the same scope and name.
    pub fn put_secret(
        &mut self,
        seal: &Seal,
        scope: &Scope,
        name: &str,
        text: &Secret,
        now_ms: i64,
    ) -> Result<()> {
        let sealed = seal.seal(scope, name, text);
        let key = key_of(&sealed).map(|key| key.to_string());
        let expected = self.sealing_key(seal, now_ms)?;
        if key.as_deref() != Some(expected.to_string().as_str()) {
            return Err(StoreError::Key(format!(
                "secrets are sealed with the key {expected} now: restart this server with it"
            )));
        }
        self.execute(
            "INSERT INTO secrets (scope_kind, scope_id, name, sealed, key_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (scope_kind, scope_id, name) DO UPDATE
                SET sealed = excluded.sealed, key_id = excluded.key_id, updated_at = excluded.updated_at",
            params![&scope.kind, &scope.id, name, sealed, key, now_ms],
        )
        .map(drop)
    }

    /// Reads a secret.
    pub fn get_secret(&mut self, seal: &Seal, scope: &Scope, name: &str) -> Result<Option<Secret>> {
        let row = self.query_opt(
            "SELECT sealed FROM secrets WHERE scope_kind = $1 AND scope_id = $2 AND name = $3",
            params![&scope.kind, &scope.id, name],
        )?;
        row.map(|row| seal.open(scope, name, &row.bytes("sealed")?)).transpose()
    }

    /// All secrets of a scope by name, opened: the environment of a workload.
    pub fn get_secrets(&mut self, seal: &Seal, scope: &Scope) -> Result<Vec<(String, Secret)>> {
        let rows = self.query(
            "SELECT name, sealed FROM secrets WHERE scope_kind = $1 AND scope_id = $2 ORDER BY name",
            params![&scope.kind, &scope.id],
        )?;
        let open = |row: &Row| {
            let name = row.text("name")?;
            let text = seal.open(scope, &name, &row.bytes("sealed")?)?;
            Ok((name, text))
        };
        rows.iter().map(open).collect()
    }

    /// The names of a scope's secrets.
    pub fn list_secret_names(&mut self, scope: &Scope) -> Result<Vec<SecretName>> {
        let rows = self.query(
            "SELECT name, created_at, updated_at FROM secrets WHERE scope_kind = $1 AND scope_id = $2 ORDER BY name",
            params![&scope.kind, &scope.id],
        )?;
        let name = |row: &Row| {
            let (created_at, updated_at) = (row.int("created_at")?, row.int("updated_at")?);
            Ok(SecretName { name: row.text("name")?, created_at, updated_at })
        };
        rows.iter().map(name).collect()
    }

    /// Deletes one secret; whether it was there.
    pub fn delete_secret(&mut self, scope: &Scope, name: &str) -> Result<bool> {
        let deleted = self.execute(
            "DELETE FROM secrets WHERE scope_kind = $1 AND scope_id = $2 AND name = $3",
            params![&scope.kind, &scope.id, name],
        )?;
        Ok(deleted == 1)
    }

    /// Deletes all secrets of a scope; how many there were.
    pub fn delete_secrets(&mut self, scope: &Scope) -> Result<u64> {
        self.execute(
            "DELETE FROM secrets WHERE scope_kind = $1 AND scope_id = $2",
            params![&scope.kind, &scope.id],
        )
    }

    /// The key that seals in this database, which becomes the ring's first if there is none yet. It cannot change
    /// until this transaction ends.
    fn sealing_key(&mut self, seal: &Seal, now_ms: i64) -> Result<KeyId> {
        let (scope, proof) = check_place();
        let sql = match self.dialect() {
            Dialect::Sqlite => "SELECT value FROM settings WHERE name = $1",
            Dialect::Postgres => "SELECT value FROM settings WHERE name = $1 FOR SHARE",
        };
        let stored = if let Some(row) = self.query_opt(sql, params![CHECK])? {
            row.text("value")?
        } else {
            let fresh = hex::encode(seal.seal(&scope, CHECK, &proof));
            self.setting_or(CHECK, &fresh, now_ms)?
        };
        let sealed = hex::decode(&stored).unwrap_or_default();
        let key =
            key_of(&sealed).ok_or_else(|| StoreError::Key(format!("the setting {CHECK} is damaged")))?;
        match seal.open(&scope, CHECK, &sealed) {
            Ok(opened) if opened == proof => Ok(key),
            _ => {
                let here: Vec<String> = seal.keys().iter().map(|key| key.id().to_string()).collect();
                Err(StoreError::Key(format!(
                    "the sealing key is not the one of this database: it needs the key {key}, given was {}. Restore \
                     the key file that belongs to this database",
                    here.join(", ")
                )))
            }
        }
    }

    /// From now on only the ring's first key seals.
    fn begin_rotation(&mut self, seal: &Seal, now_ms: i64) -> Result<()> {
        // Refuses a ring that cannot open what is there.
        self.sealing_key(seal, now_ms)?;
        let (scope, proof) = check_place();
        let fresh = hex::encode(seal.seal(&scope, CHECK, &proof));
        self.put_setting(CHECK, &fresh, now_ms)
    }

    /// Seals up to `limit` secrets anew that are under another key than the ring's first; how many were found.
    fn reseal(&mut self, seal: &Seal, limit: u32) -> Result<u64> {
        let current = seal.current().to_string();
        let rows = self.query(
            "SELECT scope_kind, scope_id, name, sealed FROM secrets WHERE key_id <> $1
             ORDER BY scope_kind, scope_id, name LIMIT $2",
            params![&current, limit],
        )?;
        for row in &rows {
            let (scope, name) =
                (Scope::new(row.text("scope_kind")?, row.text("scope_id")?), row.text("name")?);
            let old = row.bytes("sealed")?;
            let new = seal.seal(&scope, &name, &seal.open(&scope, &name, &old)?);
            // A value that was replaced meanwhile is under the new key already.
            self.execute(
                "UPDATE secrets SET sealed = $5, key_id = $6
                 WHERE scope_kind = $1 AND scope_id = $2 AND name = $3 AND sealed = $4",
                params![scope.kind, scope.id, name, old, new, &current],
            )?;
        }
        Ok(rows.len() as u64)
    }
}

/// A rotation, one durable step at a time; it may stop after any of them and be started again.
#[derive(Debug)]
pub struct Rotation<'a> {
    store: &'a Store,
    seal: &'a Arc<Seal>,
    file: Option<&'a Path>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Key,
    Check,
    Reseal,
    Forget,
    Done,
}

impl<'a> Rotation<'a> {
    /// A rotation of the ring in `file` to a new key, or the rest of one that was interrupted. Without a file (the
    /// ring came from a configuration value), to the ring's first key.
    pub fn new(store: &'a Store, seal: &'a Arc<Seal>, file: Option<&'a Path>) -> Self {
        Self { store, seal, file, stage: Stage::Key }
    }

    /// Takes the next step; `false` once nothing is left to do. After an error the same step can be tried again.
    pub async fn step(&mut self, now_ms: i64) -> Result<bool> {
        self.stage = match self.stage {
            Stage::Key => {
                let keys = self.seal.keys();
                if let (Some(file), [old]) = (self.file, &*keys) {
                    let both = vec![Key::generate(), old.clone()];
                    // The file first: a key that seals must be on the disk.
                    key_file::replace(file, &both)?;
                    self.seal.set_keys(both);
                }
                Stage::Check
            }
            Stage::Check => {
                let seal = Arc::clone(self.seal);
                self.store.write(move |tx| tx.begin_rotation(&seal, now_ms)).await?;
                Stage::Reseal
            }
            Stage::Reseal => {
                let seal = Arc::clone(self.seal);
                match self.store.write(move |tx| tx.reseal(&seal, BATCH)).await? {
                    0 => Stage::Forget,
                    _ => Stage::Reseal,
                }
            }
            Stage::Forget => {
                let current = self.seal.keys()[0].clone();
                if let Some(file) = self.file {
                    key_file::replace(file, std::slice::from_ref(&current))?;
                }
                self.seal.set_keys(vec![current]);
                Stage::Done
            }
            Stage::Done => return Ok(false),
        };
        Ok(true)
    }
}

/// Rotates to the end: see [`Rotation::new`]. Restart other servers on the same database afterwards: until then they
/// can neither read nor write secrets.
pub async fn rotate(store: &Store, seal: &Arc<Seal>, file: Option<&Path>, now_ms: i64) -> Result<()> {
    let mut rotation = Rotation::new(store, seal, file);
    while rotation.step(now_ms).await? {}
    Ok(())
}

/// What is sealed to prove a key, and its place.
fn check_place() -> (Scope, Secret) {
    (Scope::new("server", CHECK), Secret::new("ryokan"))
}
