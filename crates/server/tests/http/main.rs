//! The server over HTTP: a real one, on both stores, with an engine in memory. One binary, a module a noun.
#![expect(clippy::unwrap_used, reason = "a test")]

mod approvals;
mod audit;
mod coverage;
mod crabshack;
mod credentials;
mod databases;
mod deployments;
mod disk;
mod domains;
mod events;
mod idempotency;
mod identity;
mod images;
mod instances;
mod jobs;
mod ledger;
mod models;
mod pages;
mod policies;
mod projects;
mod support;
mod templates;
