//! The server: configuration, composition root, lifecycle, and the HTTP API over the use cases.
//!
//! `config` is parsed (pure), `compose` builds everything (nothing runs), `lifecycle` runs and drains it. Handlers
//! parse, call one use case, and map the answer.

pub mod build;
pub mod cli;
pub mod compose;
pub mod config;
pub mod databases;
mod edge;
mod engine;
mod http;
mod identity;
pub mod lifecycle;
pub mod models;
mod money;
pub mod payments;
mod ports;
pub mod retention;
mod telemetry;

pub use edge::EgressSection;
pub use http::openapi;
