//! The port of providers of models, as far as the heart needs them: what they offer, and pulls. Calls themselves go by the
//! gateway.

use async_trait::async_trait;
use ryokan_model::models::{Capabilities, Provider};
use tokio::sync::mpsc;

/// Why a provider did not answer. `Display` holds no secret and no body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderError {
    /// Asking again is pointless until somebody changes something.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
}

/// How far a pull has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub status: String,
    pub completed: Option<i64>,
    pub total: Option<i64>,
}

#[async_trait]
pub trait ModelProviders: Send + Sync + 'static {
    /// The models that a provider has, with what it says that they can do. Bounded in time and size by the adapter.
    async fn list(&self, provider: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError>;

    /// Makes the provider fetch a model, and tells how far it is. Ends the pull when `most` bytes would be exceeded, or when
    /// nobody listens any more.
    async fn pull(
        &self,
        provider: &Provider,
        model: &str,
        most: i64,
        progress: mpsc::Sender<Pulled>,
    ) -> Result<(), ProviderError>;
}

/// Where nobody is asked.
pub struct NoModelProviders;

#[async_trait]
impl ModelProviders for NoModelProviders {
    async fn list(&self, _: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError> {
        Err(ProviderError::Refused("providers are not asked here".into()))
    }

    async fn pull(
        &self,
        _: &Provider,
        _: &str,
        _: i64,
        _: mpsc::Sender<Pulled>,
    ) -> Result<(), ProviderError> {
        Err(ProviderError::Refused("providers are not asked here".into()))
    }
}
