//! Values that only we can make: fields with a length each, signed with HMAC-SHA256 under a purpose.
//!
//! A value made for one purpose never verifies for another, and no field can run into its neighbour.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The key of tickets and agent cookies.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC takes keys of any length.
        Self(Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key")))
    }

    /// `payload.mac`, both in unpadded base64url.
    pub(crate) fn seal(&self, purpose: &str, fields: &[&[u8]]) -> String {
        let mut payload = Vec::new();
        for field in fields {
            // Fields are names, ids and numbers; what does not fit cannot verify, because the length is wrong.
            let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
            payload.extend_from_slice(&length.to_be_bytes());
            payload.extend_from_slice(field);
        }
        let mac = self.mac(purpose, &payload).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(mac))
    }

    /// The fields again, if the signature holds. Compares in constant time.
    pub(crate) fn open<const N: usize>(&self, purpose: &str, sealed: &str) -> Option<[Vec<u8>; N]> {
        if sealed.len() > 4096 {
            return None;
        }
        let (payload, mac) = sealed.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.mac(purpose, &payload).verify_slice(&mac).ok()?;
        let mut rest = payload.as_slice();
        let mut fields = Vec::with_capacity(N);
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (field, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            fields.push(field.to_vec());
            rest = tail;
        }
        if !rest.is_empty() {
            return None;
        }
        fields.try_into().ok()
    }

    fn mac(&self, purpose: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(payload);
        mac
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}
