//! Identity certificates (BRC-52): a certifier's signature over encrypted fields, of which the subject reveals some to us
//! by a keyring. Whether a certificate was revoked is a question to the chain, which is not asked here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::derive::{Protocol, verifying_key};
use crate::encrypt::SymmetricKey;
use crate::key::{PrivateKey, PublicKey};
use crate::message::RequestedCertificates;
use crate::{nonce, order, varint};

/// More are not read.
const MOST: usize = 16;

/// Why certificates were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("certificates: {0}")]
    Json(String),
    #[error("certificates: at most {MOST} at once")]
    Many,
    #[error("certificates: the {0} is malformed")]
    Malformed(&'static str),
    #[error("certificates: the subject is not the sender")]
    Subject,
    #[error("certificates: neither this certifier nor this type was asked for")]
    Unasked,
    #[error("certificates: the certifier's signature is not good")]
    Signature,
    #[error("certificates: the field `{0}` cannot be decrypted with its keyring")]
    Field(String),
}

/// A certificate with the keys of the fields that its subject reveals.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// 32 bytes as base64.
    #[serde(rename = "type")]
    pub kind: String,
    /// 32 bytes as base64.
    pub serial_number: String,
    pub subject: String,
    pub certifier: String,
    /// `<transaction>.<output>`.
    pub revocation_outpoint: String,
    /// Encrypted, as base64.
    pub fields: BTreeMap<String, String>,
    #[serde(default)]
    pub signature: String,
    /// For each revealed field its key, encrypted for us, as base64.
    #[serde(default)]
    pub keyring: BTreeMap<String, String>,
}

/// How names of fields are sorted before they are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOrder {
    /// As JavaScript's `localeCompare` does, and so the most used wallets.
    Locale,
    /// As the specification has it.
    Bytes,
}

impl Certificate {
    /// An array of certificates, as it came.
    pub fn parse_all(json: &str) -> Result<Vec<Self>, CertificateError> {
        let all: Vec<Self> = serde_json::from_str(json).map_err(|e| CertificateError::Json(e.to_string()))?;
        if all.len() > MOST { Err(CertificateError::Many) } else { Ok(all) }
    }

    /// What the certifier signs.
    pub fn to_bytes(&self, by: FieldOrder) -> Result<Vec<u8>, CertificateError> {
        let mut out = Vec::new();
        let fixed = |text: &str, what| {
            nonce::decode(text)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or(CertificateError::Malformed(what))
        };
        let key = |text: &str, what| {
            text.parse::<PublicKey>().map_err(|_| CertificateError::Malformed(what)).map(|k| k.to_bytes())
        };
        out.extend(fixed(&self.kind, "type")?);
        out.extend(fixed(&self.serial_number, "serial number")?);
        out.extend(key(&self.subject, "subject")?);
        out.extend(key(&self.certifier, "certifier")?);
        let malformed = CertificateError::Malformed("revocation outpoint");
        let (transaction, output) = self.revocation_outpoint.split_once('.').ok_or(malformed.clone())?;
        let mut id = [0; 32];
        hex::decode_to_slice(transaction, &mut id).map_err(|_| malformed.clone())?;
        out.extend(id);
        varint::write(&mut out, output.parse::<u32>().map_err(|_| malformed)?.into());
        let mut fields: Vec<_> = self.fields.iter().collect();
        if by == FieldOrder::Locale {
            fields.sort_by(|(a, _), (b, _)| order::compare(a, b));
        }
        varint::write(&mut out, fields.len() as u64);
        for (name, value) in fields {
            varint::write_bytes(&mut out, name.as_bytes());
            varint::write_bytes(&mut out, value.as_bytes());
        }
        Ok(out)
    }

    /// Whether its certifier signed it. Both orders of fields are taken: either way the same fields were signed.
    pub fn verify(&self) -> Result<(), CertificateError> {
        let certifier: PublicKey =
            self.certifier.parse().map_err(|_| CertificateError::Malformed("certifier"))?;
        let signature = hex::decode(&self.signature).map_err(|_| CertificateError::Malformed("signature"))?;
        let invoice = Protocol::certificate_signature()
            .invoice(&format!("{} {}", self.kind, self.serial_number))
            .map_err(|_| CertificateError::Malformed("serial number"))?;
        let key = verifying_key(&PrivateKey::anyone(), &certifier, &invoice)
            .map_err(|_| CertificateError::Malformed("certifier"))?;
        for by in [FieldOrder::Locale, FieldOrder::Bytes] {
            if key.verify(&self.to_bytes(by)?, &signature) {
                return Ok(());
            }
        }
        Err(CertificateError::Signature)
    }

    /// The revealed fields in the clear.
    pub fn reveal(&self, ours: &PrivateKey) -> Result<BTreeMap<String, String>, CertificateError> {
        let subject: PublicKey = self.subject.parse().map_err(|_| CertificateError::Malformed("subject"))?;
        let open = |name: &str, sealed: &str| {
            let invoice =
                Protocol::certificate_field().invoice(&format!("{} {name}", self.serial_number)).ok()?;
            let ring = SymmetricKey::derive(ours, &subject, &invoice).ok()?;
            let key = SymmetricKey::from_bytes(&ring.decrypt(&nonce::decode(sealed)?).ok()?)?;
            let value = key.decrypt(&nonce::decode(self.fields.get(name)?)?).ok()?;
            String::from_utf8(value).ok()
        };
        self.keyring
            .iter()
            .map(|(name, sealed)| {
                open(name, sealed)
                    .map(|value| (name.clone(), value))
                    .ok_or_else(|| CertificateError::Field(name.clone()))
            })
            .collect()
    }

    /// Checks all that can be checked without the chain, and gives the fields that were asked for and revealed.
    pub fn check(
        &self,
        sender: &PublicKey,
        wanted: &RequestedCertificates,
        ours: &PrivateKey,
    ) -> Result<BTreeMap<String, String>, CertificateError> {
        if self.subject.parse().as_ref() != Ok(sender) {
            return Err(CertificateError::Subject);
        }
        let asked = wanted.types.get(&self.kind).ok_or(CertificateError::Unasked)?;
        if !wanted.certifiers.iter().any(|certifier| certifier.eq_ignore_ascii_case(&self.certifier)) {
            return Err(CertificateError::Unasked);
        }
        self.verify()?;
        let mut revealed = self.reveal(ours)?;
        revealed.retain(|name, _| asked.contains(name));
        Ok(revealed)
    }
}
