//! Payments on a chain: whether a transaction that somebody shows us is real and pays us, telling the network of it, and
//! making one that spends what was paid.
//!
//! The proof (SPV) says that the inputs exist, not that they are unspent: only the network's answer to the broadcast says
//! that. Nothing is credited before it.

use async_trait::async_trait;
use ryokan_model::Secret;
use ryokan_model::project::Network;

/// A payment whose proof is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Of the transaction, in hexadecimal as explorers show it.
    pub txid: String,
    /// What output 0 holds; it pays to the script that was asked for.
    pub satoshis: u64,
    /// The transaction with what its inputs spend (BRC-30), for the broadcast.
    pub extended: Vec<u8>,
}

/// An output that is to be spent, and the private key (in hex) of the public key whose hash it pays to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    pub txid: String,
    pub output: u32,
    pub satoshis: u64,
    pub key: Secret,
}

/// An output of a transaction that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub script: Vec<u8>,
    pub satoshis: u64,
}

/// A transaction of ours. The same inputs and outputs always make the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// In hexadecimal as explorers show it.
    pub txid: String,
    /// With what its inputs spend (BRC-30), for the broadcast.
    pub extended: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The bytes are no transaction with its proof, or not one that can be mined.
    #[error("the transaction is not good: {0}")]
    Malformed(String),
    /// A block that the proof names is not on the chain.
    #[error("the transaction's proof names a block that is not on the {network} chain (height {height})")]
    Unproven { network: Network, height: u64 },
    #[error("output 0 does not pay to the key that was asked for")]
    Elsewhere,
    /// Final: the network will not have it.
    #[error("the network refused the transaction: {0}")]
    Refused(String),
    /// Somebody does not answer; try again later.
    #[error("{0}")]
    Unavailable(String),
}

/// The chain, as somebody sees it who is paid and pays.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Checks an Atomic BEEF (BRC-95): its form, its scripts, its proofs against the headers of `network`, and that
    /// output 0 pays to `script`. What it costs is bounded, whatever the transaction's scripts do.
    async fn verify(&self, network: Network, beef: Vec<u8>, script: &[u8]) -> Result<Verified, PaymentError>;

    /// Returns when the network has taken it. What it knows already is fine.
    async fn broadcast(&self, network: Network, extended: &[u8]) -> Result<(), PaymentError>;

    /// What the address of a public key (in hex) holds, in satoshis, with what is not mined yet. It may lag behind what
    /// was broadcast.
    async fn funds(&self, network: Network, key: &str) -> Result<u64, PaymentError>;

    /// Makes and signs a transaction. What its inputs hold beyond its outputs is its fee; nothing is told to anybody.
    async fn sign(&self, inputs: Vec<Spent>, outputs: Vec<Output>) -> Result<Signed, PaymentError>;
}
