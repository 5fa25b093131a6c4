//! The composition root: builds everything from a configuration. Nothing runs when this is done but the store's own
//! threads; `lifecycle` runs it.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ryokan_adapters::directory::Directory;
use ryokan_adapters::dns::Dns;
use ryokan_adapters::docker::{self, Docker};
use ryokan_adapters::firewall;
use ryokan_adapters::models::HttpModelProviders;
use ryokan_adapters::prometheus::PrometheusUsage;
use ryokan_adapters::smtp::Smtp;
use ryokan_adapters::webhook::HttpWebhooks;
use ryokan_app::deployments::UploadKey;
use ryokan_app::entropy::{Entropy, SystemClock, SystemEntropy};
use ryokan_app::identity::bootstrap::FirstStart;
use ryokan_app::instances::token::InstanceTokens;
use ryokan_app::{App, DoorSettings, Parts, Settings};
use ryokan_gateway::models::ModelGateway;
use ryokan_gateway::{Gateway, Limits, RouteTable, SigningKey, Snapshot};
use ryokan_model::{Clock, Secret, ServerId};
use ryokan_ports::runtime::Reach;
use ryokan_ports::usage::Unmetered;
use ryokan_ports::{DnsResolver, ImageBuilder, Mailer, PaymentProvider, Runtime, UsageSource, Webhooks};
use ryokan_store::{KeyCheck, Options, Scope, Seal, Store, StoreUrl};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::edge::{self, Doors};
use crate::engine;
use crate::http::{self, Context, RateLimiter, Wallets};
use crate::models::Till;
use crate::ports::{Api, Counters, Credentials, WallClock};
use crate::telemetry;

/// A server that is ready to run.
pub struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) rate: Arc<RateLimiter>,
    pub(crate) gateway: Gateway,
    pub(crate) doors: Arc<Doors>,
    pub(crate) routes: Arc<RouteTable>,
    /// One for each core, on the same address.
    pub(crate) listeners: Vec<std::net::TcpListener>,
    pub(crate) writes: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_grace: std::time::Duration,
    pub(crate) first_start: Option<FirstStart>,
    pub(crate) cli_file: PathBuf,
    /// Held while the server lives: two servers on one folder would each believe that they lead.
    pub(crate) _lock: std::fs::File,
}

/// A running server's limits.
pub struct Adjustable {
    app: Arc<App>,
    rate: Arc<RateLimiter>,
}

impl Adjustable {
    /// Puts the configuration's limits in force; the rest of it needs a restart.
    pub fn apply(&self, config: &Config) {
        self.app.set_limits(config.limits());
        self.rate.set(config.requests_per_second());
    }
}

/// What tests replace.
#[derive(Default)]
pub struct Overrides {
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Nothing is metered of a replaced runtime unless this is given.
    pub usage: Option<Arc<dyn UsageSource>>,
    pub mailer: Option<Arc<dyn Mailer>>,
    pub payments: Option<Arc<dyn PaymentProvider>>,
    pub webhooks: Option<Arc<dyn Webhooks>>,
    pub builder: Option<Arc<dyn ImageBuilder>>,
    pub dns: Option<Arc<dyn DnsResolver>>,
    pub clock: Option<Arc<dyn Clock>>,
}

impl Server {
    /// Opens the store, checks the key, seeds templates, binds the listener.
    pub async fn build(config: &Config, overrides: Overrides) -> anyhow::Result<Self> {
        let data = &config.server.data_dir;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .with_context(|| format!("the data folder {} cannot be made", data.display()))?;
        let clock = overrides.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let lock = lock_folder(data, config)?;
        let store =
            Store::open(Options::new(store_url(config)?)).await.context("the database cannot be opened")?;
        let seal = Arc::new(open_seal(config, data)?);
        check_seal(&store, &seal, clock.as_ref(), config).await?;
        let server_id = server_id(&store, clock.as_ref(), entropy.as_ref()).await?;
        // For people and scripts that look for what an engine holds of this installation.
        std::fs::write(data.join("server-id"), server_id.to_string())
            .context("the data folder cannot be written to")?;
        let identity = config.identity.settings(&store, &seal, clock.as_ref(), entropy.as_ref()).await?;
        let key = signing_key(&store, &seal, clock.as_ref(), entropy.as_ref()).await?;
        let signing = SigningKey::new(&key);

        let listeners = bind(config.server.listen).with_context(|| {
            format!("cannot listen on {}: is another server running? `server.listen` (RYOKAN_LISTEN) names another address", config.server.listen)
        })?;
        let port = listeners[0].local_addr()?.port();
        let public_url = config
            .server
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}:{port}", config.server.zone));

        let given = (overrides.runtime, overrides.builder, overrides.usage);
        let Engine { runtime, builder, usage } = engine_of(config, server_id, given).await?;
        let payments: Option<Arc<dyn PaymentProvider>> = match overrides.payments {
            Some(provider) => Some(provider),
            None => config.payments.provider()?.map(|bsv| Arc::new(bsv) as Arc<dyn PaymentProvider>),
        };
        let mailer: Option<Arc<dyn Mailer>> = match (overrides.mailer, config.mail.options()) {
            (Some(mailer), _) => Some(mailer),
            (None, Ok(Some(options))) => Some(Arc::new(Smtp::new(options).context("mail")?)),
            (None, _) => None,
        };
        let webhooks: Arc<dyn Webhooks> = overrides
            .webhooks
            .unwrap_or_else(|| Arc::new(HttpWebhooks::new(config.billing.webhooks_to_private)));
        let dns: Arc<dyn DnsResolver> = match overrides.dns {
            Some(dns) => dns,
            None => Arc::new(Dns::new(&config.dns.servers).context("name lookups")?),
        };
        let names = dns.clone();
        let trust = edge::trust::establish(&store, &seal, clock.as_ref(), data).await?;
        let mut deploy = config.build.settings(data)?;
        config.databases.set(&mut deploy.databases);
        // Unpacked artifacts are of use only to the job that unpacks them.
        let _ = std::fs::remove_dir_all(&deploy.work);
        let blobs =
            Directory::open(&data.join("artifacts")).context("the folder of artifacts cannot be used")?;
        let process = u32::from_be_bytes(entropy.bytes::<4>());
        let settings = Settings {
            zone: config.server.zone.clone(),
            public_url: public_url.clone(),
            admin_secret: config.server.admin_secret.clone(),
            limits: config.limits(),
            retention: config.retention.settings(),
            identity,
            billing: config.billing.settings(&config.metering, &config.funding),
            deploy,
            door: Some(DoorSettings { port: config.egress.port, trust: trust.folder }),
            gpus: config.engine.gpus,
            worker: format!("{server_id}/{process:08x}"),
        };
        let app = App::new(Parts {
            store,
            seal,
            runtime,
            usage,
            mailer,
            payments,
            webhooks: Some(webhooks),
            builder,
            blobs: Arc::new(blobs),
            upload_key: UploadKey::new(&key),
            instance_tokens: InstanceTokens::new(&key),
            dns,
            model_providers: Arc::new(HttpModelProviders::new().context("providers of models")?),
            clock,
            entropy,
            settings,
        });
        app.start_billing().await?;
        app.seed_templates().await?;
        app.start_policies().await?;
        app.refresh_models().await?;
        let first_start = app.first_start().await?;
        app.refresh_keyring().await?;

        let (writes, stop) = (TaskTracker::new(), CancellationToken::new());
        let rate = Arc::new(RateLimiter::new(config.requests_per_second()));
        let routes = Arc::new(RouteTable::new(Snapshot::new(&config.server.zone)));
        let context = Context {
            app: app.clone(),
            key: signing.clone(),
            models: ModelGateway::new(Arc::new(Till(app.clone()))),
            metrics: telemetry::start_metrics(),
            config: Arc::new(config.redacted()),
            started_at: app.clock.now().0,
            stop: stop.clone(),
            writes: writes.clone(),
            rate: rate.clone(),
            wallets: Arc::new(Wallets::new(&config.identity, app.settings.identity.mainnet.clone())),
            readiness: Arc::default(),
        };
        let outside = edge::Outside { authority: trust.authority, dns: names, context: context.clone() };
        let doors = edge::build(&app, config, outside)?;
        app.runtime.set_edge(doors.clone());
        let gateway = Gateway::new(ryokan_gateway::Parts {
            routes: routes.clone(),
            control_plane: Arc::new(Api {
                app: app.clone(),
                router: http::router(context),
                runtime: tokio::runtime::Handle::current(),
                requests: TaskTracker::new(),
            }),
            authenticator: Arc::new(Credentials(app.clone())),
            meter: Arc::new(Counters::default()),
            clock: Arc::new(WallClock(app.clock.clone())),
            key: signing,
            trusted_proxies: config.server.trusted_proxies.iter().filter_map(|c| c.parse().ok()).collect(),
            limits: Limits::default(),
        });
        Ok(Self {
            rate,
            app,
            gateway,
            doors,
            routes,
            listeners,
            writes,
            stop,
            stop_grace: config.server.stop_grace.duration(),
            first_start,
            cli_file: data.join("cli.json"),
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self.listeners[0].local_addr()?)
    }

    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// What may change while it runs.
    pub fn adjustable(&self) -> Adjustable {
        Adjustable { app: self.app.clone(), rate: self.rate.clone() }
    }

    /// What the first start made, once.
    pub fn take_first_start(&mut self) -> Option<FirstStart> {
        self.first_start.take()
    }
}

/// What the engine does for us.
struct Engine {
    runtime: Arc<dyn Runtime>,
    builder: Arc<dyn ImageBuilder>,
    usage: Arc<dyn UsageSource>,
}

/// What tests put in place of parts of it.
type Given = (Option<Arc<dyn Runtime>>, Option<Arc<dyn ImageBuilder>>, Option<Arc<dyn UsageSource>>);

/// The configured engine, unless a test has brought its own. What runs elsewhere is not metered here.
async fn engine_of(config: &Config, server_id: ServerId, given: Given) -> anyhow::Result<Engine> {
    let unmetered = || -> Arc<dyn UsageSource> { Arc::new(Unmetered) };
    if let (Some(runtime), Some(builder), usage) = given {
        return Ok(Engine { runtime, builder, usage: usage.unwrap_or_else(unmetered) });
    }
    let (runtime, builder, usage) = given;
    let docker = Docker::connect(docker::Options {
        socket: Some(Box::pin(engine::choose(config)).await?),
        allow_unlimited: config.engine.allow_unlimited,
        gpus: config.engine.gpus,
        firewall: firewall::Settings {
            door: Some(config.egress.port),
            names: Some(config.egress.names_port()),
            resolvers: resolvers(),
        },
        reach: config
            .engine
            .reach
            .as_deref()
            .map(|r| if r == "bridge" { Reach::Bridge } else { Reach::Loopback }),
        ..docker::Options::new(server_id)
    })?;
    let measured: Arc<dyn UsageSource> = match config.metering.prometheus() {
        _ if runtime.is_some() => unmetered(),
        Some(options) => Arc::new(PrometheusUsage::new(docker.clone(), options)?),
        None => Arc::new(docker.clone()),
    };
    Ok(Engine {
        runtime: runtime.unwrap_or_else(|| Arc::new(docker.clone())),
        usage: usage.unwrap_or(measured),
        builder: builder.unwrap_or_else(|| Arc::new(docker)),
    })
}

/// The machine's name servers: instances with a route may ask them although their addresses are not public.
fn resolvers() -> Vec<std::net::IpAddr> {
    firewall::resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// One listener for each core on one address. The first is bound without sharing, so that a port that somebody else
/// uses is noticed; then all are bound with it.
///
/// A port that the system chooses is never one that is shared already, so there the first one only tells which it is.
fn bind(mut address: std::net::SocketAddr) -> std::io::Result<Vec<std::net::TcpListener>> {
    if address.port() != 0 {
        drop(std::net::TcpListener::bind(address)?);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..cores)
        .map(|_| {
            let domain = if address.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(4096)?;
            let listener = std::net::TcpListener::from(socket);
            address = listener.local_addr()?;
            Ok(listener)
        })
        .collect()
}

/// Takes the folder for this process; the lock goes with it however it dies.
pub(crate) fn lock_folder(data: &Path, config: &Config) -> anyhow::Result<std::fs::File> {
    let path = data.join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("the data folder {} cannot be written to", data.display()))?;
    file.try_lock().map_err(|_| {
        anyhow::anyhow!(
            "another ryokan server is using the data folder {}; `server.data_dir` (RYOKAN_DATA_DIR) names another, and several servers share a PostgreSQL database instead",
            config.server.data_dir.display()
        )
    })?;
    Ok(file)
}

pub(crate) fn store_url(config: &Config) -> anyhow::Result<StoreUrl> {
    match &config.store.database_url {
        Some(url) => url.expose().parse().map_err(|e: String| anyhow::anyhow!("store.database_url: {e}")),
        None => Ok(StoreUrl::Sqlite(config.server.data_dir.join("ryokan.db"))),
    }
}

/// The key file that rotation rewrites; none when the key comes from the configuration.
pub(crate) fn key_file(config: &Config, data: &Path) -> Option<PathBuf> {
    config
        .secrets
        .key
        .is_none()
        .then(|| config.secrets.key_file.clone().unwrap_or_else(|| data.join("secrets.key")))
}

pub(crate) fn open_seal(config: &Config, data: &Path) -> anyhow::Result<Seal> {
    match (&config.secrets.key, key_file(config, data)) {
        (Some(key), _) => Seal::from_text(key.expose()).context("secrets.key"),
        (None, Some(file)) => {
            Seal::from_file(&file).with_context(|| format!("the key file {}", file.display()))
        }
        (None, None) => Seal::from_file(&data.join("secrets.key")).context("the key file"),
    }
}

/// Refuses a wrong key now rather than at the first secret, and finishes a rotation that was cut off.
async fn check_seal(
    store: &Store,
    seal: &Arc<Seal>,
    clock: &dyn Clock,
    config: &Config,
) -> anyhow::Result<()> {
    let (ring, now) = (seal.clone(), clock.now());
    let check = store.write(move |tx| tx.check_key(&ring, now.0)).await.context("the secrets' key")?;
    if check == KeyCheck::RotationPending {
        let file = key_file(config, &config.server.data_dir);
        ryokan_store::rotate(store, seal, file.as_deref(), now.0)
            .await
            .context("finishing the rotation of the secrets' key")?;
        tracing::info!("an unfinished rotation of the secrets' key was completed");
    }
    Ok(())
}

/// This installation's id: made once, kept in the database, on every label of every engine.
async fn server_id(store: &Store, clock: &dyn Clock, entropy: &dyn Entropy) -> anyhow::Result<ServerId> {
    let now = clock.now();
    let fresh = ServerId::from_parts(now, entropy.bytes());
    let id = store.write(move |tx| tx.setting_or("server-id", &fresh.to_string(), now.0)).await?;
    id.parse().context("the server's id in the database is damaged")
}

/// Signs agents' cookies and tickets; sealed in the database, so that all servers share it and a restart signs nobody out.
async fn signing_key(
    store: &Store,
    seal: &Arc<Seal>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> anyhow::Result<[u8; 32]> {
    let text = kept_secret(store, seal, clock, entropy, "signing-key").await?;
    let mut key = [0u8; 32];
    hex::decode_to_slice(text.expose(), &mut key)
        .map_err(|_| anyhow::anyhow!("the signing key in the database is damaged"))?;
    Ok(key)
}

/// 32 random bytes in hexadecimal, made once by whichever server comes first, and kept sealed in the database.
pub(crate) async fn kept_secret(
    store: &Store,
    seal: &Arc<Seal>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    name: &'static str,
) -> anyhow::Result<Secret> {
    let (now, ring) = (clock.now(), seal.clone());
    let fresh = Secret::new(hex::encode(entropy.bytes::<32>()));
    let kept = store.write(move |tx| {
        let scope = Scope::new("server", "");
        tx.lock(name)?;
        if let Some(key) = tx.get_secret(&ring, &scope, name)? {
            Ok(key)
        } else {
            tx.put_secret(&ring, &scope, name, &fresh, now.0)?;
            Ok::<_, ryokan_store::StoreError>(fresh)
        }
    });
    Ok(kept.await?)
}

/// Leaves the first operator's access for the CLI on this machine, for nobody else to read.
pub(crate) fn write_cli_file(path: &Path, url: &str, token: &Secret) -> anyhow::Result<()> {
    use std::io::Write as _;
    let text = serde_json::to_string_pretty(&serde_json::json!({"url": url, "token": token.expose()}))?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}
