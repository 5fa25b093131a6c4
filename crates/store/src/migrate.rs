//! Brings a database to this binary's schema: forward only, all missing steps in one transaction, one migrator at a
//! time.
//!
//! An applied step is remembered with its checksum, so a step must never be edited once released: add another. Both
//! folders hold the same numbers and names, and a test compares the tables and columns they make.

use sha2::{Digest, Sha256};

use crate::dialect::Dialect;
use crate::error::{Result, StoreError};
use crate::params;
use crate::tx::{Engine, Tx};

/// One step; its version is its place in [`MIGRATIONS`], from 1.
struct Migration {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// All steps in order; the number in the name is the place in the list.
const MIGRATIONS: &[Migration] = &[
    migration!("0001_engine"),
    migration!("0002_nouns"),
    migration!("0003_retention"),
    migration!("0004_private_images"),
    migration!("0005_pages"),
    migration!("0006_versions"),
    migration!("0007_projects"),
    migration!("0008_identity"),
    migration!("0009_ledger"),
    migration!("0010_deployments"),
    migration!("0011_payments"),
    migration!("0012_domains"),
    migration!("0013_addons"),
    migration!("0014_disk_quotas"),
    migration!("0015_funding"),
    migration!("0016_policy"),
    migration!("0017_credentials"),
    migration!("0018_models"),
];

/// Applies what is missing. On an error nothing is changed.
pub(crate) fn migrate(mut engine: Engine<'_>) -> Result<()> {
    engine.batch(match engine {
        Engine::Sqlite(_) => "BEGIN IMMEDIATE",
        Engine::Postgres(_) => "BEGIN",
    })?;
    let mut tx = Tx::new(engine);
    match apply(&mut tx, MIGRATIONS) {
        Ok(()) => tx.batch("COMMIT"),
        Err(error) => {
            tx.failure = None;
            // The first error is the one that explains.
            let _ = tx.batch("ROLLBACK");
            Err(error)
        }
    }
}

fn apply(tx: &mut Tx<'_>, migrations: &[Migration]) -> Result<()> {
    tx.lock("migrate")?;
    tx.batch(
        "CREATE TABLE IF NOT EXISTS migrations (
            version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
    )?;
    let applied = tx.query("SELECT version, name, checksum FROM migrations ORDER BY version", params![])?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if let Some(last) = applied.last()
        && last.int("version")? > known
    {
        return Err(StoreError::NewerSchema { found: last.int("version")?, known });
    }
    for (version, migration) in (1_i64..).zip(migrations) {
        let sql = match tx.dialect() {
            Dialect::Sqlite => migration.sqlite,
            Dialect::Postgres => migration.postgres,
        };
        let checksum = checksum(sql);
        let mut before = None;
        for row in &applied {
            if row.int("version")? == version {
                before = Some((row.text("name")?, row.text("checksum")?));
            }
        }
        match before {
            Some((_, applied)) if applied == checksum => {}
            Some((applied, _)) => return Err(StoreError::MigrationChanged { version, applied }),
            None => {
                tx.batch(sql)?;
                // The database's clock: the store is opened before there is any other, and only people read this.
                let insert = match tx.dialect() {
                    Dialect::Sqlite => {
                        "INSERT INTO migrations (version, name, checksum, applied_at)
                         VALUES ($1, $2, $3, CAST(unixepoch('subsec') * 1000 AS INTEGER))"
                    }
                    Dialect::Postgres => {
                        "INSERT INTO migrations (version, name, checksum, applied_at)
                         VALUES ($1, $2, $3, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))"
                    }
                };
                tx.execute(insert, params![version, migration.name, checksum])?;
            }
        }
    }
    Ok(())
}

/// SHA-256 in hex, blind to the line endings of a checkout.
fn checksum(sql: &str) -> String {
    let digest = Sha256::digest(sql.replace("\r\n", "\n").as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn names_carry_their_place() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert!(migration.name.starts_with(&format!("{:04}_", index + 1)), "{}", migration.name);
        }
    }
}
