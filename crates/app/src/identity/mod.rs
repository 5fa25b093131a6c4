//! Who calls: users, tokens, sessions, and the snapshot that every request is checked against.

pub mod authenticate;
pub mod bootstrap;
pub mod keys;
pub mod password;
pub mod register;
pub mod sessions;
pub mod throttle;
pub mod tokens;
pub mod users;

use sha2::{Digest, Sha256};

/// All secrets of ours begin so, which lets scanners find leaked ones and the gateway strip them.
pub const TOKEN_PREFIX: &str = "ryk_";

/// What is stored of a token, session or link: the hexadecimal SHA-256. Their secrets have 256 random bits, so a slow
/// hash would add nothing.
pub fn fingerprint(secret: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(secret.as_bytes()).iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
