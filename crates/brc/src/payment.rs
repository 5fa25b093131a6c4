//! The 402 exchange (BRC-105) and the outputs that pay (BRC-29), as far as they need no chain: headers, the JSON of a
//! payment, and the script that its first output must have.

use ripemd::Ripemd160;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::derive::{Invoice, InvoiceError, Protocol};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::nonce;

pub const VERSION: &str = "1.0";

/// Names of the headers of BRC-105. All are signed, being `x-bsv-*`.
pub mod names {
    pub const VERSION: &str = "x-bsv-payment-version";
    pub const SATOSHIS_REQUIRED: &str = "x-bsv-payment-satoshis-required";
    pub const DERIVATION_PREFIX: &str = "x-bsv-payment-derivation-prefix";
    pub const PAYMENT: &str = "x-bsv-payment";
    pub const SATOSHIS_PAID: &str = "x-bsv-payment-satoshis-paid";
}

/// What a 402 answer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub satoshis: u64,
    /// Ours, used once: base64.
    pub derivation_prefix: String,
}

impl Challenge {
    pub fn headers(&self) -> [(&'static str, String); 3] {
        [
            (names::VERSION, VERSION.to_owned()),
            (names::SATOSHIS_REQUIRED, self.satoshis.to_string()),
            (names::DERIVATION_PREFIX, self.derivation_prefix.clone()),
        ]
    }
}

/// Why a payment was refused before it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    #[error("`x-bsv-payment` is not JSON as BRC-105 has it: {0}")]
    Json(String),
    #[error("`x-bsv-payment`: transaction: is not base64")]
    Transaction,
    #[error("`x-bsv-payment`: {0}")]
    KeyId(#[from] InvoiceError),
}

/// The value of `x-bsv-payment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    pub derivation_prefix: String,
    pub derivation_suffix: String,
    /// `AtomicBEEF` (BRC-95) as base64; output 0 pays.
    transaction: String,
}

impl Payment {
    pub fn parse(header: &str) -> Result<Self, PaymentError> {
        let payment: Self = serde_json::from_str(header).map_err(|e| PaymentError::Json(e.to_string()))?;
        payment.invoice()?;
        nonce::decode(&payment.transaction).ok_or(PaymentError::Transaction)?;
        Ok(payment)
    }

    pub fn transaction(&self) -> Vec<u8> {
        nonce::decode(&self.transaction).unwrap_or_default()
    }

    pub fn invoice(&self) -> Result<Invoice, InvoiceError> {
        invoice(&self.derivation_prefix, &self.derivation_suffix)
    }
}

/// BRC-29: the invoice number of an output.
pub fn invoice(prefix: &str, suffix: &str) -> Result<Invoice, InvoiceError> {
    if prefix.is_empty() || suffix.is_empty() {
        return Err(InvoiceError::KeyId);
    }
    Protocol::payment().invoice(&format!("{prefix} {suffix}"))
}

/// The key that a payment by `payer` is locked to, and that spends it.
pub fn payee_key(payee: &PrivateKey, payer: &PublicKey, invoice: &Invoice) -> Result<PrivateKey, KeyError> {
    payee.derive(&payee.shared(payer), invoice)
}

/// `OP_DUP OP_HASH160 <hash> OP_EQUALVERIFY OP_CHECKSIG`.
pub fn p2pkh(key: &PublicKey) -> [u8; 25] {
    let hash = Ripemd160::digest(Sha256::digest(key.to_bytes()));
    let mut script = [0; 25];
    script[..3].copy_from_slice(&[0x76, 0xa9, 20]);
    script[3..23].copy_from_slice(&hash);
    script[23..].copy_from_slice(&[0x88, 0xac]);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_read_strictly() {
        let json = r#"{"derivationPrefix":"cHJl","derivationSuffix":"c3Vm","transaction":"AQID"}"#;
        let payment = Payment::parse(json).unwrap();
        assert_eq!(payment.transaction(), [1, 2, 3]);
        assert_eq!(payment.invoice().unwrap().as_str(), "2-3241645161d8-cHJl c3Vm");
        for (from, to) in [("cHJl", ""), ("c3Vm", ""), ("AQID", "!"), ("\"derivationPrefix\"", "\"prefix\"")]
        {
            assert!(Payment::parse(&json.replace(from, to)).is_err(), "{from}");
        }
        assert!(Payment::parse("").is_err());
        assert!(Payment::parse(&json.replace("c3Vm", &"x".repeat(800))).is_err(), "too long for a key id");
    }

    #[test]
    fn a_challenge_says_what_to_pay() {
        let challenge = Challenge { satoshis: 777, derivation_prefix: "cHJl".into() };
        let headers = challenge.headers().map(|(name, value)| format!("{name}: {value}"));
        assert_eq!(
            headers,
            [
                "x-bsv-payment-version: 1.0",
                "x-bsv-payment-satoshis-required: 777",
                "x-bsv-payment-derivation-prefix: cHJl"
            ]
        );
    }
}
