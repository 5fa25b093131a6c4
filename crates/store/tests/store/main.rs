//! The store's suite: every test runs on both engines unless it is about one of them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod engine;
mod events;
mod jobs;
