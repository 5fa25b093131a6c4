//! All SQL of ryokan: one transaction type over SQLite and PostgreSQL.
//!
//! A transaction is a plain synchronous function, `store.write(|tx| ...)` or `store.read(|tx| ...)`. One SQL text a
//! query serves both engines: `$1` placeholders, `RETURNING`, `ON CONFLICT`; ids and JSON are TEXT, times BIGINT UTC
//! milliseconds. What truly differs lives in `dialect`. Why it is not `sqlx::Any`: `docs/adr/0001-store.md`.
//!
//! What must always hold: a write is acknowledged only after it is durable; it runs whole or not at all; neither a
//! caller that goes away nor a closure that panics can leave it half-done. The crate knows no domain rules beyond the
//! shape of rows, reads no clock and makes no ids: callers pass both in.

pub mod approvals;
pub mod audit;
pub mod billing;
mod change;
pub mod credentials;
pub mod deployments;
mod dialect;
pub mod disk;
pub mod domains;
mod error;
mod events;
pub mod funding;
mod gpus;
pub mod groups;
mod idempotency;
pub mod identity_keys;
pub mod images;
pub mod instances;
mod jobs;
mod key_file;
pub mod ledger;
mod migrate;
pub mod model_calls;
pub mod models;
mod options;
pub mod policies;
pub mod prices;
pub mod projects;
mod reconcilers;
pub mod revisions;
mod row;
mod seal;
mod secrets;
mod settings;
mod store;
pub mod templates;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod tokens;
mod tx;
pub mod usage;
pub mod users;
mod value;
mod work;

pub use change::{Change, Changes};
pub use dialect::Dialect;
pub use dialect::leader::LeaderGuard;
pub use error::{Result, StoreError};
pub use events::{EVENTS, Event, EventFilter, EventOutcome, EventsPage, LoggedEvent};
pub use idempotency::{Claimed, IDEMPOTENCY_WINDOW};
pub use jobs::{Enqueued, FURTHEST, JOBS, Job, JobCount, JobFilter, JobState, NewJob};
pub use options::{Options, StoreUrl};
pub use reconcilers::ReconcilerRun;
pub use row::Row;
pub use seal::{Key, KeyId, Scope, Seal};
pub use secrets::{KeyCheck, Rotation, SecretName, rotate};
pub use store::Store;
pub use tx::Tx;
pub use value::Value;
