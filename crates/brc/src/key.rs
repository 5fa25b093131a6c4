//! secp256k1 keys, the secret that two of them share, and signatures over SHA-256 in DER with a low S.
//!
//! A public key is always compressed: 33 bytes, 66 hexadecimal digits. That text is who somebody is.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{NonZeroScalar, ProjectivePoint, Scalar, SecretKey, U256};
use sha2::{Digest, Sha256};
use zeroize::ZeroizeOnDrop;

use crate::Invoice;

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("must be a compressed public key: 66 hexadecimal digits that begin with 02 or 03")]
    Public,
    #[error("must be a private key: 64 hexadecimal digits, neither zero nor beyond the curve's order")]
    Private,
    /// Never met by chance: the tweak cancels the key.
    #[error("these two keys cannot be derived for each other")]
    Derived,
}

/// A private key; wiped from memory when dropped.
#[derive(Clone)]
pub struct PrivateKey(SecretKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        SecretKey::from_slice(bytes).map(Self).map_err(|_| KeyError::Private)
    }

    /// 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Private)?;
        Self::from_bytes(&bytes)
    }

    /// The key that everybody knows: the number one. What is signed by it says nothing of who signed.
    pub fn anyone() -> Self {
        Self(NonZeroScalar::from_repr(Scalar::ONE.to_bytes()).expect("one is not zero").into())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key())
    }

    pub fn to_hex(&self) -> String {
        hex::encode(self.0.to_bytes())
    }

    /// The point that this key and another's public key have in common.
    pub fn shared(&self, other: &PublicKey) -> Shared {
        let point = other.0.to_projective() * *self.0.to_nonzero_scalar();
        let encoded = point.to_affine().to_encoded_point(true);
        let mut bytes = [0; 33];
        // A point of prime order times a scalar that is not zero is never at infinity, so it has 33 bytes.
        bytes.copy_from_slice(encoded.as_bytes());
        Shared(bytes)
    }

    /// Our key for `invoice` with the other side (BRC-42).
    pub fn derive(&self, shared: &Shared, invoice: &Invoice) -> Result<Self, KeyError> {
        let sum = *self.0.to_nonzero_scalar() + shared.tweak(invoice);
        Option::from(NonZeroScalar::new(sum)).map(|s: NonZeroScalar| Self(s.into())).ok_or(KeyError::Derived)
    }

    /// DER, low S, deterministic.
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        let key = SigningKey::from(&self.0);
        let signature: Signature =
            key.sign_prehash(&Sha256::digest(data)).expect("a hash of 32 bytes can be signed");
        signature.normalize_s().unwrap_or(signature).to_der().as_bytes().to_vec()
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(k256::PublicKey);

impl PublicKey {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != 33 {
            return Err(KeyError::Public);
        }
        k256::PublicKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::Public)
    }

    pub fn to_bytes(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes.copy_from_slice(self.0.to_encoded_point(true).as_bytes());
        bytes
    }

    /// The other side's key for `invoice` with us (BRC-42).
    pub fn derive(&self, shared: &Shared, invoice: &Invoice) -> Result<Self, KeyError> {
        let point = self.0.to_projective() + ProjectivePoint::GENERATOR * shared.tweak(invoice);
        k256::PublicKey::from_affine(point.to_affine()).map(Self).map_err(|_| KeyError::Derived)
    }

    /// Whether `der` is this key's signature over `data`. One with a high S is refused.
    pub fn verify(&self, data: &[u8], der: &[u8]) -> bool {
        Signature::from_der(der).is_ok_and(|signature| {
            VerifyingKey::from(&self.0).verify_prehash(&Sha256::digest(data), &signature).is_ok()
        })
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 33];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Public)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// What two keys share: a compressed point. Whoever has it knows every link between the two, so it is a secret.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Shared([u8; 33]);

impl Shared {
    /// HMAC-SHA256 of the invoice under the shared point, modulo the curve's order.
    fn tweak(&self, invoice: &Invoice) -> Scalar {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(invoice.as_str().as_bytes());
        <Scalar as Reduce<U256>>::reduce_bytes(&mac.finalize().into_bytes())
    }

    /// The point's first coordinate, which is a symmetric key (BRC-2).
    pub(crate) fn x(&self) -> [u8; 32] {
        let mut x = [0; 32];
        x.copy_from_slice(&self.0[1..]);
        x
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(…)")
    }
}
