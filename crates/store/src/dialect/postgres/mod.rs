//! PostgreSQL: threads that own a connection each, a listener for changes, advisory locks.
//!
//! A thread drives its connection on a runtime of its own, so a round trip wakes no other thread, and a statement in
//! a closure is a plain blocking call. The connections must be direct or pooled by session (not by transaction):
//! prepared statements, LISTEN and advisory locks live in a session.

pub(crate) mod background;
pub(crate) mod session;
pub(crate) mod target;
pub(crate) mod worker;

use sha2::{Digest, Sha256};

/// The key of an advisory lock: 64 bits of a hash, so that names of different purposes do not meet.
pub(crate) fn advisory_key(purpose: &str, name: &str) -> i64 {
    let digest = Sha256::digest(format!("ryokan\0{purpose}\0{name}").as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}
