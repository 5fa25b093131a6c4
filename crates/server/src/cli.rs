//! `ryokan server`: its arguments, its subcommands, and its signals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use ryokan_app::entropy::SystemClock;
use ryokan_model::Clock as _;
use ryokan_store::{Options, Store};
use tokio::signal::unix::{SignalKind, signal};

use crate::compose::{self, Adjustable, Overrides, Server, open_seal, store_url};
use crate::config::Config;
use crate::lifecycle::Shutdown;
use crate::telemetry::{self, LogFilter};

/// Runs the server, or one of its maintenance commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML); `RYOKAN_*` variables override it.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where everything that must survive is kept.
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Agents answer at NAME.ZONE.
    #[arg(long)]
    pub zone: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after the key that seals secrets.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Print the API's description (OpenAPI 3.1).
    Openapi,
    /// Print the JSON Schema of agent-manifest.json.
    ManifestSchema,
}

#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check it and print what is in force, without secrets.
    Check,
}

#[derive(Debug, clap::Subcommand)]
pub enum SecretsCommand {
    /// Make a new key and seal everything anew. Safe to interrupt; run it again. Stop the server first.
    Rotate,
}

/// Runs to the end; what went wrong is the error.
pub async fn run(args: Args, environment: BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let load = || load(&args, &environment);
    if matches!(args.command, Some(Command::Openapi)) {
        return print_description();
    }
    if matches!(args.command, Some(Command::ManifestSchema)) {
        return print_manifest_schema();
    }
    let config = load()?;
    match &args.command {
        Some(Command::Openapi) => print_description(),
        Some(Command::ManifestSchema) => print_manifest_schema(),
        Some(Command::Config(ConfigCommand::Check)) => check(&config, &environment),
        Some(Command::Secrets(SecretsCommand::Rotate)) => rotate(&config).await,
        None => serve(config, Config::unknown_variables(&environment), load).await,
    }
}

fn load(args: &Args, environment: &BTreeMap<String, String>) -> anyhow::Result<Config> {
    let path = args.config.clone().or_else(|| environment.get("RYOKAN_CONFIG").map(PathBuf::from));
    let file = match &path {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("the configuration file {} cannot be read", path.display()))?,
        ),
        None => None,
    };
    // The command line wins; it is laid over the environment, so that all is checked in one place.
    let mut environment = environment.clone();
    let mut over = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            environment.insert(name.to_owned(), value);
        }
    };
    over("RYOKAN_LISTEN", args.listen.map(|l| l.to_string()));
    over("RYOKAN_ZONE", args.zone.clone());
    over("RYOKAN_DATA_DIR", args.data_dir.as_ref().map(|d| d.display().to_string()));
    Config::parse(file.as_deref(), &environment).with_context(|| {
        path.map_or_else(
            || "the configuration is not valid".to_owned(),
            |p| format!("the configuration ({}) is not valid", p.display()),
        )
    })
}

#[expect(clippy::print_stdout, reason = "the result of a command that was asked for")]
fn check(config: &Config, environment: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&config.redacted())?);
    for name in Config::unknown_variables(environment) {
        eprintln!("warning: the variable {name} is not known and is ignored");
    }
    eprintln!("the configuration is valid");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result of a command that was asked for")]
fn print_description() -> anyhow::Result<ExitCode> {
    println!("{}", crate::openapi::description().to_pretty_json()?);
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "its whole purpose")]
fn print_manifest_schema() -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&crate::openapi::manifest_schema())?);
    Ok(ExitCode::SUCCESS)
}

async fn rotate(config: &Config) -> anyhow::Result<ExitCode> {
    let data = &config.server.data_dir;
    let Some(file) = compose::key_file(config, data) else {
        anyhow::bail!(
            "the key comes from the configuration (`secrets.key`): put a new one in front of it with a comma, restart the server, which then seals everything anew, and remove the old one"
        );
    };
    let _lock = compose::lock_folder(data, config).context("stop the server first")?;
    let store =
        Store::open(Options::new(store_url(config)?)).await.context("the database cannot be opened")?;
    let seal = Arc::new(open_seal(config, data)?);
    let now = SystemClock.now();
    let ring = seal.clone();
    store.write(move |tx| tx.check_key(&ring, now.0)).await.context("the secrets' key")?;
    ryokan_store::rotate(&store, &seal, Some(&file), now.0)
        .await
        .context("the rotation was cut off; run it again to finish it")?;
    eprintln!("everything is sealed with a new key now: {}", file.display());
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    config: Config,
    unknown: Vec<String>,
    reload: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let filter = telemetry::start_logging(&config.log)?;
    for name in unknown {
        tracing::warn!(variable = name, "this variable is not known and is ignored");
    }
    let mut server = Server::build(&config, Overrides::default()).await?;
    announce(&mut server, &config)?;
    let shutdown = Shutdown::default();
    let adjustable = server.adjustable();
    let running = server.run(shutdown.clone());
    tokio::pin!(running);
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let drained = loop {
        tokio::select! {
            drained = &mut running => break drained,
            _ = stop.recv() => escalate(&shutdown),
            _ = interrupt.recv() => escalate(&shutdown),
            _ = hangup.recv() => reload_config(&reload, &adjustable, &filter),
        }
    };
    tracing::info!(drained, "stopped");
    Ok(ExitCode::SUCCESS)
}

fn escalate(shutdown: &Shutdown) {
    if shutdown.soft.is_cancelled() {
        tracing::warn!("a second signal: stopping at once");
        shutdown.hard.cancel();
    }
    shutdown.soft.cancel();
}

/// What may change while the server runs: limits and the log's filter. The rest is said to need a restart.
fn reload_config(load: &impl Fn() -> anyhow::Result<Config>, running: &Adjustable, filter: &LogFilter) {
    match load().and_then(|config| filter.set(&config.log.filter).map(|()| config)) {
        Ok(config) => {
            running.apply(&config);
            tracing::info!(
                "the configuration was read again: limits and the log's filter are in force, everything else needs a restart"
            );
        }
        Err(error) => tracing::error!(error = format!("{error:#}"), "the configuration was not changed"),
    }
}

/// Where it is, and on the first start the only credentials that there are.
fn announce(server: &mut Server, config: &Config) -> anyhow::Result<()> {
    let address = server.address()?;
    let url = server.app().settings.public_url.clone();
    eprintln!("ryokan {} listens on {address}", env!("CARGO_PKG_VERSION"));
    eprintln!("  dashboard and API   {url}");
    eprintln!("  agents              {}", url.replacen("://", "://NAME.", 1));
    let local = format!("http://{address}");
    if let Some(first) = server.take_first_start() {
        compose::write_cli_file(&server.cli_file, &local, &first.token)?;
        eprintln!("\nThis is the first start. Nothing is default, so keep these; they are shown once.");
        eprintln!("  sign in once        {url}/login?link={}", first.link.expose());
        eprintln!("  operator's token    {}", first.token.expose());
        eprintln!("  for the CLI here    export RYOKAN_DATA_DIR={}\n", config.server.data_dir.display());
    } else {
        update_cli_url(server, &local);
    }
    Ok(())
}

/// A port may have changed since the file was written; the token in it stays.
fn update_cli_url(server: &Server, url: &str) {
    let Ok(text) = std::fs::read_to_string(&server.cli_file) else { return };
    let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return };
    if value["url"] != url
        && let Some(token) = value["token"].as_str()
        && let Err(error) = compose::write_cli_file(&server.cli_file, url, &ryokan_model::Secret::new(token))
    {
        tracing::warn!(error = %error, "the CLI's file could not be updated");
    }
}
