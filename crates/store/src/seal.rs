//! Sealing: what must be secret at rest is encrypted before it meets SQL.
//!
//! XChaCha20-Poly1305 under a ring of keys: the first seals, all open, so that a rotation can stop anywhere. A sealed
//! value is bound to its place (scope and name), so a row copied to another place does not open. Nonces and keys come
//! from the operating system, the one exception to injected randomness: a nonce that a test can repeat is a hole.
//!
//! Format: version (1 byte, 1), key id (8), nonce (24), ciphertext with tag (length of the text + 16).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::rand_core::RngCore;
use chacha20poly1305::aead::{Aead, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use ryokan_model::Secret;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Result, StoreError};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const HEADER: usize = 1 + 8 + NONCE;

/// Names a key without revealing it: the first 8 bytes of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 32 bytes that seal.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A key from the operating system's randomness.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(&mut *bytes);
        Self::new(bytes)
    }

    /// 32 bytes as 64 hex digits or in base64 (either alphabet, padded or not).
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let mut bytes = Zeroizing::new([0; 32]);
        if text.len() == 64 && hex::decode_to_slice(text, &mut *bytes).is_ok() {
            return Ok(Self::new(bytes));
        }
        let unpadded = text.trim_end_matches('=');
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let decoded = alphabet.decode(unpadded).map(Zeroizing::new);
            if let Ok(decoded) = decoded
                && decoded.len() == 32
            {
                bytes.copy_from_slice(&decoded);
                return Ok(Self::new(bytes));
            }
        }
        Err(StoreError::Key(
            "a sealing key is 32 bytes, as 64 hex digits or in base64: `openssl rand -hex 32`".into(),
        ))
    }

    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(b"ryokan sealing key id\0").chain_update(*bytes).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self { id: KeyId(id), bytes }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// 64 hex digits, for the key file.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.bytes))
    }

    /// HMAC-SHA256 of `text`, in hexadecimal, under a key made from this one for `purpose` alone.
    fn fingerprint(&self, purpose: &str, text: &[u8]) -> String {
        let mac = |key: &[u8], text: &[u8]| {
            let mac =
                <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.chain_update(text).finalize().into_bytes()
        };
        let derived = Zeroizing::new(<[u8; 32]>::from(mac(
            &*self.bytes,
            &place(&Scope::new("fingerprint", ""), purpose),
        )));
        hex::encode(mac(&*derived, text))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

/// Where a secret belongs: `("project", id)`, `("instance", id)`, `("server", "")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The noun.
    pub kind: String,
    /// Its id.
    pub id: String,
}

impl Scope {
    /// A scope of this noun and id.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

/// The ring of keys. One a server, shared; a rotation exchanges the keys inside.
pub struct Seal {
    /// Never empty; the first seals.
    keys: RwLock<Arc<[Key]>>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().iter()).finish()
    }
}

impl Seal {
    /// From a configuration value: one key, or several with commas between, of which the first seals and the others
    /// only open (put the new one in front, rotate, then remove the old one).
    pub fn from_text(text: &str) -> Result<Self> {
        let keys = text.split(',').map(Key::parse).collect::<Result<Vec<Key>>>()?;
        Self::new(keys)
    }

    /// A ring of these keys, the first of which seals.
    pub fn new(keys: Vec<Key>) -> Result<Self> {
        if keys.is_empty() {
            return Err(StoreError::Key("there is no sealing key".into()));
        }
        Ok(Self { keys: RwLock::new(keys.into()) })
    }

    /// The keys, the sealing one first.
    pub(crate) fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the keys: rotation.
    pub(crate) fn set_keys(&self, keys: Vec<Key>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// The id of the key that seals.
    pub fn current(&self) -> KeyId {
        self.keys()[0].id
    }

    /// Keyed fingerprints of `text`, one for each key of the ring, the sealing one's first: what was stored under a
    /// key before a rotation is known again while the ring holds that key. They tell nothing to whoever has none.
    pub fn fingerprints(&self, purpose: &str, text: &[u8]) -> Vec<String> {
        self.keys().iter().map(|key| key.fingerprint(purpose, text)).collect()
    }

    /// Encrypts `text` for its place.
    pub fn seal(&self, scope: &Scope, name: &str, text: &Secret) -> Vec<u8> {
        seal_with(&self.keys()[0], scope, name, text)
    }

    /// Decrypts what was sealed for this place.
    pub fn open(&self, scope: &Scope, name: &str, sealed: &[u8]) -> Result<Secret> {
        let wrong = |what: &str| StoreError::Key(format!("the secret {name} of a {} {what}", scope.kind));
        let id = key_of(sealed).ok_or_else(|| wrong("is not in a format that this server knows"))?;
        let keys = self.keys();
        let key = keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| wrong(&format!("is sealed with the key {id}, which is not here")))?;
        let (nonce, ciphertext) = (&sealed[HEADER - NONCE..HEADER], &sealed[HEADER..]);
        let payload = Payload { msg: ciphertext, aad: &place(scope, name) };
        let text = key.cipher().decrypt(XNonce::from_slice(nonce), payload);
        let text = text.map_err(|_| wrong("was altered, or belongs elsewhere"))?;
        String::from_utf8(text).map(Secret::new).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            wrong("is not text")
        })
    }
}

/// Encrypts under one key.
pub(crate) fn seal_with(key: &Key, scope: &Scope, name: &str, text: &Secret) -> Vec<u8> {
    let mut nonce = [0; NONCE];
    OsRng.fill_bytes(&mut nonce);
    let payload = Payload { msg: text.expose().as_bytes(), aad: &place(scope, name) };
    let ciphertext = key.cipher().encrypt(XNonce::from_slice(&nonce), payload);
    let ciphertext = ciphertext.expect("only messages beyond 256 GiB cannot be encrypted");
    [&[VERSION], key.id.0.as_slice(), &nonce, &ciphertext].concat()
}

/// The key that a sealed value names; `None` if it is none of ours.
pub(crate) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    if sealed.len() < HEADER + 16 || sealed[0] != VERSION {
        return None;
    }
    sealed[1..9].try_into().ok().map(KeyId)
}

/// The associated data: each part with its length, so that no two places read the same.
fn place(scope: &Scope, name: &str) -> Vec<u8> {
    let mut place = b"ryokan sealed 1".to_vec();
    for part in [&scope.kind, &scope.id, name] {
        place.extend_from_slice(&(part.len() as u64).to_be_bytes());
        place.extend_from_slice(part.as_bytes());
    }
    place
}
