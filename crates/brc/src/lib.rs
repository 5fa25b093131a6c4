//! BSV identity and payment as pure functions: keys that two parties derive for each other (BRC-42/43), mutual
//! authentication over HTTP (BRC-103/104), certificates (BRC-52), the 402 exchange (BRC-105, BRC-29).
//!
//! Written from the published specifications and from what genuine clients send; where the two differ the client
//! decides, and `vectors/` holds what a genuine client made. There is no IO here: time and random bytes are given.

pub mod certificate;
pub mod derive;
pub mod encrypt;
pub mod key;
pub mod message;
pub mod nonce;
pub mod order;
pub mod payment;
pub mod preimage;
pub mod session;
pub mod varint;

pub use derive::{Invoice, Protocol};
pub use key::{PrivateKey, PublicKey, Shared};
pub use nonce::Nonce;
