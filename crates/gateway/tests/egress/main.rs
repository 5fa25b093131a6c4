//! The egress proxy over real sockets: a door, hosts behind it that are genuine servers, and callers that are not nice.
#![expect(unreachable_pub, reason = "a test binary of several files")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod inspected;
mod keys;
mod lifecycle;
mod plain;
mod smuggling;
mod streams;
mod tunnels;
mod world;
