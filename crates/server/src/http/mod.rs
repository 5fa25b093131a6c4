//! The HTTP API. A handler parses, authorises through its use case, calls it, and maps the answer; the old shapes of
//! Crabshack are a thin router over the same use cases.

mod approvals;
mod audit;
mod auth;
mod brc;
mod crabshack;
mod credentials;
mod deployments;
mod domains;
mod error;
mod events;
mod extract;
mod gateway;
mod groups;
mod heads;
mod health;
mod instances;
mod keys;
mod ledger;
mod mandala;
pub(crate) mod models;
pub mod openapi;
mod policies;
mod projects;
mod revocable;
mod router;
mod sessions;
mod stream;
mod system;
mod templates;
mod tokens;
mod ui;
mod users;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use ryokan_app::App;
use ryokan_gateway::SigningKey;
use ryokan_gateway::models::ModelGateway;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use brc::Wallets;
use health::LastLook;
pub(crate) use router::{RateLimiter, router};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) app: Arc<App>,
    pub(crate) key: SigningKey,
    /// Calls of models; callable for whoever was identified.
    pub(crate) models: Arc<ModelGateway>,
    pub(crate) metrics: PrometheusHandle,
    /// The configuration as people may see it.
    pub(crate) config: Arc<serde_json::Value>,
    pub(crate) started_at: i64,
    /// Ends streams when the server stops.
    pub(crate) stop: CancellationToken,
    /// Owns handlers that write, which run on when their client hangs up.
    pub(crate) writes: TaskTracker,
    pub(crate) rate: Arc<RateLimiter>,
    pub(crate) wallets: Arc<Wallets>,
    pub(crate) readiness: LastLook,
}
