//! The real binary against a scripted server. What it prints is checked whole.

#![expect(clippy::unwrap_used, reason = "all of this is a test, also what is outside of its functions")]

mod cp;
mod credentials;
mod deploy;
mod domains;
mod errors;
mod exec;
mod help;
mod interrupt;
mod ledger;
mod login;
mod operate;
mod policy;
mod run;
mod samples;
mod scripted;
mod streams;
mod tables;
mod terminal;
mod user;
