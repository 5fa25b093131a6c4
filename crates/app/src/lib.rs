//! The heart: use cases, durable jobs and reconcilers. It knows no HTTP, no SQL text and no engine's SDK.
//!
//! A use case is one `async fn` on [`App`] in a file named by its verb: it authorises, checks, and writes intent in one
//! transaction, with an event for the audit. Effects happen after the commit, through a job or a reconciler, which are
//! the only two kinds of background work. Killing the process at any instruction loses nothing and doubles nothing.

pub mod addons;
pub mod approvals;
pub mod audit;
pub mod background;
pub mod billing;
pub mod credentials;
pub mod deployments;
pub mod domains;
pub mod entropy;
pub mod error;
pub mod events;
pub mod funding;
pub mod groups;
pub mod housekeeping;
pub mod idempotency;
pub mod identity;
pub mod instances;
pub mod jobs;
pub mod ledger;
pub mod metering;
pub mod models;
pub mod page;
pub mod policies;
pub mod projects;
pub mod system;
pub mod templates;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use error::{Error, Result};
pub use page::Page;
use ryokan_model::policy::PolicySet;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{AuditId, Clock, InstanceId, Secret};
pub(crate) use ryokan_ports::crash;
use ryokan_ports::runtime::PullProgress;
use ryokan_ports::{
    BlobStore, DnsResolver, ImageBuilder, Mailer, ModelProviders, PaymentProvider, Runtime, UsageSource,
    Webhooks,
};

use ryokan_store::Seal;
use ryokan_store::Store;
use tokio::sync::{Notify, broadcast, watch};

use crate::entropy::Entropy;
use crate::identity::authenticate::Snapshot;
use crate::identity::throttle::Throttle;

/// What an operator decides about the use cases.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Agents answer at `NAME.ZONE`.
    pub zone: String,
    /// `http://ZONE:PORT` as a browser sees it, without a trailing slash.
    pub public_url: String,
    /// A configured operator's token, as Crabshack has it.
    pub admin_secret: Option<Secret>,
    /// As at the start; [`App::set_limits`] changes those in force.
    pub limits: Limits,
    pub retention: housekeeping::Retention,
    pub identity: identity::keys::IdentitySettings,
    pub billing: metering::Billing,
    pub deploy: deployments::Settings,
    /// The port of the door to each project's network, and the folder of whom sandboxes trust; none where nobody stands
    /// at it.
    pub door: Option<DoorSettings>,
    /// How many GPUs the machine has, where that is to be counted.
    pub gpus: Option<u32>,
    /// Who claims jobs: unique for each process.
    pub worker: String,
}

/// What every sandbox is told of the door.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    pub port: u16,
    /// On this machine, absolute.
    pub trust: std::path::PathBuf,
}

impl Settings {
    /// `scheme://LABEL.ZONE[:port]`, where an agent answers; what a browser calls its origin.
    pub fn agent_origin(&self, label: &str) -> String {
        self.origin_of(&format!("{label}.{}", self.zone))
    }

    /// `scheme://HOST[:port]`, as the zone has them.
    pub fn origin_of(&self, host: &str) -> String {
        let (scheme, authority) = self.public_url.split_once("://").unwrap_or(("http", &self.public_url));
        let port = authority.rsplit_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
        format!("{scheme}://{host}{port}")
    }
}

/// Bounds for what one project may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    pub instances_per_project: usize,
    pub memory_per_instance: Bytes,
    pub cpus_per_instance: Cpus,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances_per_project: 100,
            memory_per_instance: Bytes::mebi(64 * 1024),
            cpus_per_instance: Cpus::from_millis(64_000),
        }
    }
}

/// Whether the engine answers, as last seen by the reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineHealth {
    Unknown,
    Up,
    Down(String),
}

/// All that a use case needs. One for each process, behind an `Arc`.
pub struct App {
    pub store: Store,
    pub(crate) seal: Arc<Seal>,
    pub runtime: Arc<dyn Runtime>,
    pub(crate) usage: Arc<dyn UsageSource>,
    pub(crate) mailer: Option<Arc<dyn Mailer>>,
    pub(crate) webhooks: Option<Arc<dyn Webhooks>>,
    pub(crate) payments: Option<Arc<dyn PaymentProvider>>,
    pub(crate) builder: Arc<dyn ImageBuilder>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) upload_key: deployments::UploadKey,
    /// The tokens that sandboxes hold.
    pub instance_tokens: instances::token::InstanceTokens,
    pub(crate) dns: Arc<dyn DnsResolver>,
    pub(crate) model_providers: Arc<dyn ModelProviders>,
    pub(crate) models: models::Desk,
    pub clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub settings: Settings,
    limits: ArcSwap<Limits>,
    pub(crate) identity: ArcSwap<Snapshot>,
    identity_turn: tokio::sync::Mutex<()>,
    pub(crate) keyring: ArcSwap<credentials::Keyring>,
    pub(crate) keyring_turn: tokio::sync::Mutex<()>,
    policies: ArcSwap<PolicySet>,
    policies_turn: tokio::sync::Mutex<()>,
    /// How what was allowed ended, until it is written.
    ended: std::sync::Mutex<Vec<(AuditId, ryokan_store::audit::Ended)>>,
    pub(crate) throttle: Throttle,
    /// Tokens used since the last housekeeping, and when.
    pub(crate) used_tokens: std::sync::Mutex<BTreeMap<ryokan_model::TokenId, ryokan_model::Millis>>,
    /// Identity keys used since then.
    pub(crate) used_keys: std::sync::Mutex<BTreeMap<ryokan_model::IdentityKeyId, ryokan_model::Millis>>,
    /// Progress of image pulls, for whoever waits for an instance.
    pub(crate) pulls: broadcast::Sender<(InstanceId, PullProgress)>,
    /// Wakes the instance reconciler.
    pub(crate) wake: Notify,
    pub(crate) engine: watch::Sender<EngineHealth>,
    /// What the engine last said that it is.
    pub(crate) engine_known: std::sync::Mutex<Option<ryokan_ports::runtime::EngineInfo>>,
    /// Which version of each instance the gateway routes by, so that nobody is told `ready` before it is served.
    pub served: watch::Sender<BTreeMap<InstanceId, i64>>,
}

/// The parts that an [`App`] is made of.
pub struct Parts {
    pub store: Store,
    pub seal: Arc<Seal>,
    pub runtime: Arc<dyn Runtime>,
    pub usage: Arc<dyn UsageSource>,
    /// Nobody is told by mail, or by webhook, where there is none.
    pub mailer: Option<Arc<dyn Mailer>>,
    pub webhooks: Option<Arc<dyn Webhooks>>,
    /// Nobody pays over a chain where there is none.
    pub payments: Option<Arc<dyn PaymentProvider>>,
    pub builder: Arc<dyn ImageBuilder>,
    pub blobs: Arc<dyn BlobStore>,
    pub upload_key: deployments::UploadKey,
    pub instance_tokens: instances::token::InstanceTokens,
    pub dns: Arc<dyn DnsResolver>,
    pub model_providers: Arc<dyn ModelProviders>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: Settings,
}

impl App {
    /// Nothing runs yet; call [`App::refresh_identity`] and [`App::refresh_keyring`] before the first request.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            store: parts.store,
            seal: parts.seal,
            runtime: parts.runtime,
            usage: parts.usage,
            mailer: parts.mailer,
            webhooks: parts.webhooks,
            payments: parts.payments,
            builder: parts.builder,
            blobs: parts.blobs,
            upload_key: parts.upload_key,
            instance_tokens: parts.instance_tokens,
            dns: parts.dns,
            model_providers: parts.model_providers,
            models: models::Desk::default(),
            clock: parts.clock,
            entropy: parts.entropy,
            limits: ArcSwap::from_pointee(parts.settings.limits.clone()),
            settings: parts.settings,
            identity: ArcSwap::default(),
            identity_turn: tokio::sync::Mutex::new(()),
            keyring: ArcSwap::default(),
            keyring_turn: tokio::sync::Mutex::new(()),
            policies: ArcSwap::default(),
            policies_turn: tokio::sync::Mutex::new(()),
            ended: std::sync::Mutex::default(),
            throttle: Throttle::default(),
            used_tokens: std::sync::Mutex::default(),
            used_keys: std::sync::Mutex::default(),
            pulls: broadcast::channel(256).0,
            wake: Notify::new(),
            engine: watch::channel(EngineHealth::Unknown).0,
            engine_known: std::sync::Mutex::default(),
            served: watch::channel(BTreeMap::new()).0,
        })
    }

    /// The snapshot that callers are checked against.
    pub fn identity(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.identity.load()
    }

    /// Changes the bounds for what is asked from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    pub fn engine_health(&self) -> EngineHealth {
        self.engine.borrow().clone()
    }
}
