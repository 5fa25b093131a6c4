//! The ports of messages to people and programs outside: mail and webhooks. Both may deliver twice; whoever calls tries
//! again until it is told that a message was taken, or that it never will be.

use async_trait::async_trait;

/// Why a message was not taken. `Display` holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotifyError {
    /// Trying again is pointless.
    #[error("refused: {0}")]
    Refused(String),
    /// Try again later.
    #[error("not delivered: {0}")]
    Unavailable(String),
}

/// A message to one person, in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub body: String,
}

#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Returns once a server has taken the message. Bounded in time by the adapter.
    async fn send(&self, mail: &Mail) -> Result<(), NotifyError>;
}

#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Posts JSON with the header `Ryokan-Signature`. Any answer of 2xx is good; redirects are not followed. Addresses of
    /// the server's own networks are refused unless its operator allows them.
    async fn post(&self, url: &str, signature: &str, body: String) -> Result<(), NotifyError>;
}
