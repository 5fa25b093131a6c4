//! It cannot be killed: the real binary, on a real engine, dies at named points and at random moments, its engine and
//! its database die under it, its disk fills up. Afterwards everything is as it was asked for, and nothing is left over.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests; they poll with a deadline"
)]

mod books;
mod chain;
mod deployments;
mod engine;
mod faults;
mod metering;
mod payments;
mod points;
mod storm;
#[expect(dead_code, reason = "the chaos runs use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod updates;
mod volumes;
