//! BRC-2 encryption: AES-256-GCM under a key that two parties derive, with an initialisation vector of 32 bytes before the
//! ciphertext and the tag of 16 after it.

use aes_gcm::aead::{Aead, KeyInit, consts::U32};
use aes_gcm::{AesGcm, Nonce, aes::Aes256};
use zeroize::ZeroizeOnDrop;

use crate::Invoice;
use crate::key::{KeyError, PrivateKey, PublicKey};

type Gcm = AesGcm<Aes256, U32>;

/// A symmetric key.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SymmetricKey([u8; 32]);

/// It was altered, or is for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext cannot be decrypted with this key")]
pub struct Undecipherable;

impl SymmetricKey {
    /// A key shorter than 32 bytes is one with leading zeros that a wallet has left out.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = [0; 32];
        key.get_mut(32usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// The key that both sides get for `invoice`.
    pub fn derive(ours: &PrivateKey, theirs: &PublicKey, invoice: &Invoice) -> Result<Self, KeyError> {
        let shared = ours.shared(theirs);
        let (ours, theirs) = (ours.derive(&shared, invoice)?, theirs.derive(&shared, invoice)?);
        Ok(Self(ours.shared(&theirs).x()))
    }

    /// `random` must never be used twice.
    pub fn encrypt(&self, plain: &[u8], random: [u8; 32]) -> Vec<u8> {
        let sealed = Gcm::new(&self.0.into()).encrypt(Nonce::<U32>::from_slice(&random), plain);
        [random.to_vec(), sealed.expect("a message in memory is not too long for AES-GCM")].concat()
    }

    pub fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, Undecipherable> {
        let (vector, sealed) = sealed.split_at_checked(32).ok_or(Undecipherable)?;
        Gcm::new(&self.0.into()).decrypt(Nonce::<U32>::from_slice(vector), sealed).map_err(|_| Undecipherable)
    }
}
