//! The port of artifacts at rest: whole files under a name, written once. What is not whole is never seen.

use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;

use crate::runtime::BoxStream;

/// Why something was not stored. `Display` is for people.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The sender went away in the middle.
    #[error("the upload ended early: {0}")]
    Interrupted(String),
    #[error("the server's disk is full")]
    DiskFull,
    #[error("{0} does not exist")]
    NotFound(String),
    #[error("{0}")]
    Other(String),
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub size: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// Where nothing is ever stored.
#[cfg(feature = "test-util")]
#[derive(Debug)]
pub struct NoBlobs;

#[cfg(feature = "test-util")]
#[async_trait]
impl BlobStore for NoBlobs {
    async fn put(&self, _: &str, _: u64, _: BoxStream<Result<Bytes, String>>) -> Result<Stored, BlobError> {
        Err(BlobError::DiskFull)
    }

    async fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, BlobError> {
        Err(BlobError::NotFound(name.to_owned()))
    }

    async fn delete(&self, _: &str) -> Result<(), BlobError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>, BlobError> {
        Ok(Vec::new())
    }
}

/// Names are ours: letters, digits, `-`, `_` and `.`.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Writes what comes, hashed on the way, of at most `most` bytes. Nothing stays when it fails or is dropped.
    async fn put(
        &self,
        name: &str,
        most: u64,
        content: BoxStream<Result<Bytes, String>>,
    ) -> Result<Stored, BlobError>;

    /// For reading on a thread that may block.
    async fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, BlobError>;

    /// Nothing there is fine.
    async fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// All names, for the search for what nobody needs any more. What is being written is not among them.
    async fn list(&self) -> Result<Vec<String>, BlobError>;
}
