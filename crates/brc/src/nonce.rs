//! Nonces are base64 texts of random bytes. A peer checks only its own; of the other's, only the text matters, because the
//! text is part of the key id.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

/// Beyond this no wallet goes; theirs have 44 or 64 characters.
const LONGEST: usize = 256;
/// Fewer random bytes than this could meet again.
const FEWEST_BYTES: usize = 16;

/// Why a nonce was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is base64 text of 16 to 192 bytes")]
pub struct BadNonce;

/// A nonce in its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(String);

impl Nonce {
    /// 48 bytes: 64 characters without padding, so that two in a row are base64 again (older clients join them so).
    pub fn from_random(bytes: [u8; 48]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn bytes(&self) -> Vec<u8> {
        decode(&self.0).unwrap_or_default()
    }
}

/// Base64 with its padding or without.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

impl TryFrom<String> for Nonce {
    type Error = BadNonce;

    fn try_from(text: String) -> Result<Self, BadNonce> {
        let good = text.len() <= LONGEST && decode(&text).is_some_and(|bytes| bytes.len() >= FEWEST_BYTES);
        if good { Ok(Self(text)) } else { Err(BadNonce) }
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        nonce.0
    }
}

impl std::str::FromStr for Nonce {
    type Err = BadNonce;

    fn from_str(text: &str) -> Result<Self, BadNonce> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
