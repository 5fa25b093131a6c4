//! The store's suite: every test runs on both engines unless it is about one of them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod addons;
mod crash;
mod deployments;
mod disk;
mod engine;
mod events;
mod funding;
mod idempotency;
mod identity_keys;
mod jobs;
mod ledger;
mod postgres_server;
mod schema;
mod secrets;
mod servers;
mod small;
