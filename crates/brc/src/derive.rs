//! What a derived key is for (BRC-43): a protocol with a security level, and a key id within it. Together they are the
//! invoice number that BRC-42 derives by.

use std::fmt;

use crate::key::{KeyError, PrivateKey, PublicKey};

/// Why a protocol or key id was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    #[error("a security level is 0, 1 or 2")]
    Level,
    #[error("a protocol has 5 to 400 letters, digits and single spaces, and does not end in ` protocol`")]
    Protocol,
    #[error("a key id has 1 to 800 characters")]
    KeyId,
}

/// A protocol whose name was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    level: u8,
    name: String,
}

/// A linkage revelation names another protocol, and may be longer by that.
const LINKAGE: &str = "specific linkage revelation ";

impl Protocol {
    /// Letters are made small and spaces around are cut, as wallets do.
    pub fn new(level: u8, name: &str) -> Result<Self, InvoiceError> {
        if level > 2 {
            return Err(InvoiceError::Level);
        }
        let name = name.to_lowercase();
        let name = name.trim();
        let longest = if name.starts_with(LINKAGE) { 430 } else { 400 };
        let good = (5..=longest).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b' ')
            && !name.contains("  ")
            && !name.ends_with(" protocol");
        if good { Ok(Self { level, name: name.to_owned() }) } else { Err(InvoiceError::Protocol) }
    }

    /// Signatures of the handshake and of every message (BRC-103).
    pub fn auth() -> Self {
        Self { level: 2, name: "auth message signature".to_owned() }
    }

    /// A certifier's signature (BRC-52).
    pub fn certificate_signature() -> Self {
        Self { level: 2, name: "certificate signature".to_owned() }
    }

    /// Keys of a certificate's fields (BRC-52).
    pub fn certificate_field() -> Self {
        Self { level: 2, name: "certificate field encryption".to_owned() }
    }

    /// Outputs that pay somebody (BRC-29).
    pub fn payment() -> Self {
        Self { level: 2, name: "3241645161d8".to_owned() }
    }

    pub fn invoice(&self, key_id: &str) -> Result<Invoice, InvoiceError> {
        // Wallets count UTF-16 units, as their language does.
        if !(1..=800).contains(&key_id.encode_utf16().count()) {
            return Err(InvoiceError::KeyId);
        }
        Ok(Invoice(format!("{}-{}-{key_id}", self.level, self.name)))
    }
}

/// An invoice number: `<level>-<protocol>-<key id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice(String);

impl Invoice {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that `ours` signs with for `theirs`.
pub fn signing_key(ours: &PrivateKey, theirs: &PublicKey, invoice: &Invoice) -> Result<PrivateKey, KeyError> {
    ours.derive(&ours.shared(theirs), invoice)
}

/// The key that `theirs` signs with for `ours`.
pub fn verifying_key(
    ours: &PrivateKey,
    theirs: &PublicKey,
    invoice: &Invoice,
) -> Result<PublicKey, KeyError> {
    theirs.derive(&ours.shared(theirs), invoice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_checked_as_wallets_check_them() {
        let longest = "a".repeat(400);
        for good in ["auth message signature", "3241645161d8", "  Padded Name ", "abcde", &longest] {
            Protocol::new(2, good).unwrap();
        }
        let long_linkage = format!("{LINKAGE}2 {}", "a".repeat(400));
        assert_eq!(long_linkage.len(), 430);
        Protocol::new(2, &long_linkage).unwrap();
        let too_long = "a".repeat(401);
        for bad in ["", "abcd", "two  spaces", "under_score", "my protocol", "é-accent", &too_long] {
            assert_eq!(Protocol::new(2, bad), Err(InvoiceError::Protocol), "{bad}");
        }
        assert_eq!(Protocol::new(3, "abcde"), Err(InvoiceError::Level));
        assert_eq!(
            Protocol::new(1, "Hello World").unwrap().invoice("7").unwrap().as_str(),
            "1-hello world-7"
        );
    }

    #[test]
    fn key_ids_are_bounded_in_the_units_of_wallets() {
        let protocol = Protocol::auth();
        assert_eq!(protocol.invoice(""), Err(InvoiceError::KeyId));
        protocol.invoice(&"é".repeat(800)).unwrap();
        assert_eq!(protocol.invoice(&"x".repeat(801)), Err(InvoiceError::KeyId));
        assert_eq!(protocol.invoice(&"😀".repeat(401)), Err(InvoiceError::KeyId), "two units each");
    }
}
