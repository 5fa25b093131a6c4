//! Configuration: a TOML file and the environment, parsed once, purely, into one struct a section. Unknown keys are
//! refused. The environment wins over the file, the command line over both.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use ryokan_model::Secret;
use ryokan_model::quantity::{Bytes, Cpus, Span};
use serde::Deserialize;

use crate::build::BuildSection;
use crate::databases::DatabasesSection;
use crate::identity::IdentitySection;
use crate::money::{BillingSection, MailSection, MeteringSection};
use crate::payments::{FundingSection, PaymentsSection};
use crate::retention::RetentionSection;

/// All sections. Since v0.1.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub store: StoreSection,
    pub secrets: Secrets,
    pub engine: Engine,
    pub limits: LimitsSection,
    pub identity: IdentitySection,
    pub payments: PaymentsSection,
    pub funding: FundingSection,
    pub build: BuildSection,
    pub databases: DatabasesSection,
    pub retention: RetentionSection,
    pub metering: MeteringSection,
    pub billing: BillingSection,
    pub mail: MailSection,
    pub dns: DnsSection,
    pub egress: crate::edge::EgressSection,
    pub log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where to listen. A public address needs TLS in front or `allow_public_http`.
    pub listen: SocketAddr,
    /// Agents answer at `NAME.zone`; `*.localhost` needs no DNS.
    pub zone: String,
    /// As browsers see the zone, such as `https://agents.example.com`; made from `zone` and the port when absent.
    pub public_url: Option<String>,
    /// Listen on a public address without TLS: passwords and tokens then cross the network in the clear.
    pub allow_public_http: bool,
    /// Networks (CIDR) of proxies in front whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<String>,
    /// How long a soft stop may take before everything is cut.
    pub stop_grace: Span,
    /// A fixed operator's token, as Crabshack has it.
    pub admin_secret: Option<Secret>,
    /// Everything that must survive: the database, the key file, the first operator's access.
    pub data_dir: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// `postgres://…`; a SQLite file in the data folder when absent.
    pub database_url: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// 32 bytes as base64 or hexadecimal; several with commas, of which the first seals.
    pub key: Option<Secret>,
    /// Made at the first start when neither this nor `key` is given: `secrets.key` in the data folder.
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// As in `unix:///var/run/docker.sock`. When absent, the first that answers of [`Engine::candidates`].
    pub socket: Option<String>,
    /// `bridge` or `loopback`; found out when absent.
    pub reach: Option<String>,
    /// Run agents on an engine that does not enforce their limits.
    pub allow_unlimited: bool,
    /// How many GPUs the engine's machine has; they are counted then. When absent, the engine is asked whether it gives
    /// any, and nobody counts.
    pub gpus: Option<u32>,
    /// Where this user's own sockets are: `XDG_RUNTIME_DIR`.
    #[serde(skip)]
    pub runtime_dir: Option<PathBuf>,
}

impl Engine {
    /// Where engines listen when nobody says, in the order in which they are preferred.
    pub fn candidates(&self) -> Vec<String> {
        let mut all = vec![DOCKER_SOCKET.to_owned(), "unix:///run/podman/podman.sock".to_owned()];
        all.extend(self.runtime_dir.iter().map(|dir| format!("unix://{}/podman/podman.sock", dir.display())));
        all
    }
}

/// Docker's own.
pub const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    pub instances_per_project: usize,
    pub memory_per_instance: Bytes,
    pub cpus_per_instance: Cpus,
    /// Requests to the API of one user or address: this many a second, and bursts of ten times as many.
    pub requests_per_second: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSection {
    /// Name servers for the records of custom domains, as in `["9.9.9.9:53"]`; the system's when empty.
    pub servers: Vec<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// As in `info,ryokan_app=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            zone: "localhost".into(),
            public_url: None,
            allow_public_http: false,
            trusted_proxies: Vec::new(),
            stop_grace: Span::seconds(20),
            admin_secret: None,
            data_dir: PathBuf::from("ryokan-data"),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        let limits = ryokan_app::Limits::default();
        Self {
            instances_per_project: limits.instances_per_project,
            memory_per_instance: limits.memory_per_instance,
            cpus_per_instance: limits.cpus_per_instance,
            requests_per_second: 50,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

/// Why a configuration was refused: which source, which key, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

type Result<T> = std::result::Result<T, ConfigError>;

/// Environment variables, their key in the file, and the variable of Crabshack or `MandalaNode` that is read when ours is unset.
const VARIABLES: &[(&str, &str, Option<&str>)] = &[
    ("RYOKAN_LISTEN", "server.listen", None),
    ("RYOKAN_ZONE", "server.zone", Some("CRABSHACK_UI_ZONE")),
    ("RYOKAN_PUBLIC_URL", "server.public_url", None),
    ("RYOKAN_ALLOW_PUBLIC_HTTP", "server.allow_public_http", None),
    ("RYOKAN_TRUSTED_PROXIES", "server.trusted_proxies", None),
    ("RYOKAN_STOP_GRACE", "server.stop_grace", None),
    ("RYOKAN_ADMIN_SECRET", "server.admin_secret", Some("CRABSHACK_ADMIN_SECRET")),
    ("RYOKAN_DATA_DIR", "server.data_dir", Some("CRABSHACK_DATA_DIR")),
    ("RYOKAN_DATABASE_URL", "store.database_url", None),
    ("RYOKAN_SECRETS_KEY", "secrets.key", None),
    ("RYOKAN_SECRETS_KEY_FILE", "secrets.key_file", None),
    ("RYOKAN_ENGINE_SOCKET", "engine.socket", Some("DOCKER_HOST")),
    ("RYOKAN_ENGINE_REACH", "engine.reach", None),
    ("RYOKAN_ENGINE_ALLOW_UNLIMITED", "engine.allow_unlimited", None),
    ("RYOKAN_ENGINE_GPUS", "engine.gpus", None),
    ("RYOKAN_INSTANCES_PER_PROJECT", "limits.instances_per_project", None),
    ("RYOKAN_MEMORY_PER_INSTANCE", "limits.memory_per_instance", None),
    ("RYOKAN_CPUS_PER_INSTANCE", "limits.cpus_per_instance", None),
    ("RYOKAN_REQUESTS_PER_SECOND", "limits.requests_per_second", None),
    ("RYOKAN_OPEN_REGISTRATION", "identity.open_registration", None),
    ("RYOKAN_MAINNET_KEY", "identity.mainnet_key", Some("MAINNET_PRIVATE_KEY")),
    ("RYOKAN_TESTNET_KEY", "identity.testnet_key", Some("TESTNET_PRIVATE_KEY")),
    ("RYOKAN_CERTIFIERS", "identity.certifiers", None),
    ("RYOKAN_PAYMENTS", "payments.enabled", None),
    ("RYOKAN_ARC_URL", "payments.arc_url", None),
    ("RYOKAN_ARC_KEY", "payments.arc_key", Some("TAAL_API_KEY_MAIN")),
    ("RYOKAN_TESTNET_ARC_URL", "payments.testnet_arc_url", None),
    ("RYOKAN_TESTNET_ARC_KEY", "payments.testnet_arc_key", Some("TAAL_API_KEY_TEST")),
    ("RYOKAN_HEADERS", "payments.headers", None),
    ("RYOKAN_HEADERS_URL", "payments.headers_url", None),
    ("RYOKAN_HEADERS_KEY", "payments.headers_key", None),
    ("RYOKAN_TESTNET_HEADERS_URL", "payments.testnet_headers_url", None),
    ("RYOKAN_TESTNET_HEADERS_KEY", "payments.testnet_headers_key", None),
    ("RYOKAN_ADDRESSES_URL", "payments.addresses_url", None),
    ("RYOKAN_ADDRESSES_KEY", "payments.addresses_key", None),
    ("RYOKAN_TESTNET_ADDRESSES_URL", "payments.testnet_addresses_url", None),
    ("RYOKAN_TESTNET_ADDRESSES_KEY", "payments.testnet_addresses_key", None),
    ("RYOKAN_FUNDING", "funding.enabled", None),
    ("RYOKAN_FUNDING_EVERY", "funding.every", None),
    ("RYOKAN_FUNDING_MINIMUM", "funding.minimum", None),
    ("RYOKAN_FUNDING_TARGET", "funding.target", None),
    ("RYOKAN_FUNDING_FEE_PER_KB", "funding.fee_per_kb", None),
    ("RYOKAN_FUNDING_PER_DAY", "funding.per_day", None),
    ("RYOKAN_FUNDING_IN_ALL", "funding.in_all", None),
    ("RYOKAN_BUILD_NODE_BASE", "build.node_base", None),
    ("RYOKAN_BUILD_PYTHON_BASE", "build.python_base", None),
    ("RYOKAN_BUILD_FRONTEND_BASE", "build.frontend_base", None),
    ("RYOKAN_BUILD_NETWORK", "build.network", None),
    ("RYOKAN_MYSQL_IMAGE", "databases.mysql_image", None),
    ("RYOKAN_MONGO_IMAGE", "databases.mongo_image", None),
    ("RYOKAN_REDIS_IMAGE", "databases.redis_image", None),
    ("RYOKAN_POSTGRES_IMAGE", "databases.postgres_image", None),
    ("RYOKAN_RETENTION_EVENTS", "retention.events", None),
    ("RYOKAN_RETENTION_DONE_JOBS", "retention.done_jobs", None),
    ("RYOKAN_RETENTION_DEAD_JOBS", "retention.dead_jobs", None),
    ("RYOKAN_RETENTION_AUDIT", "retention.audit", None),
    ("RYOKAN_METERING_EVERY", "metering.every", None),
    ("RYOKAN_PROMETHEUS_URL", "metering.prometheus_url", Some("PROMETHEUS_URL")),
    ("RYOKAN_PROMETHEUS_TOKEN", "metering.prometheus_token", None),
    ("RYOKAN_BILLING", "billing.enabled", None),
    ("RYOKAN_BILLING_GRACE", "billing.grace", None),
    ("RYOKAN_RATE_CORE", "billing.core", Some("CPU_RATE_PER_CORE_5MIN")),
    ("RYOKAN_RATE_MEMORY_GB", "billing.memory_gb", Some("MEM_RATE_PER_GB_5MIN")),
    ("RYOKAN_RATE_DISK_GB", "billing.disk_gb", Some("DISK_RATE_PER_GB_5MIN")),
    ("RYOKAN_RATE_NETWORK_GB", "billing.network_gb", Some("NET_RATE_PER_GB_5MIN")),
    ("RYOKAN_RATE_GPU", "billing.gpu", None),
    ("RYOKAN_WEBHOOKS_TO_PRIVATE", "billing.webhooks_to_private", None),
    ("RYOKAN_MAIL_HOST", "mail.host", None),
    ("RYOKAN_MAIL_PORT", "mail.port", None),
    ("RYOKAN_MAIL_ENCRYPTION", "mail.encryption", None),
    ("RYOKAN_MAIL_USERNAME", "mail.username", None),
    ("RYOKAN_MAIL_PASSWORD", "mail.password", None),
    ("RYOKAN_MAIL_FROM", "mail.from", Some("SYSTEM_FROM_EMAIL")),
    ("RYOKAN_SENDGRID_API_KEY", "mail.sendgrid_api_key", Some("SENDGRID_API_KEY")),
    ("RYOKAN_DNS_SERVERS", "dns.servers", None),
    ("RYOKAN_EGRESS_PORT", "egress.port", None),
    ("RYOKAN_EGRESS_AUTHORITIES", "egress.authorities", None),
    ("RYOKAN_EGRESS_PRIVATE_ISSUERS", "egress.private_issuers", None),
    ("RYOKAN_LOG", "log.filter", None),
    ("RYOKAN_LOG_FORMAT", "log.format", None),
];

impl Config {
    /// From a file's text (if there is one) and an environment. Pure: reads nothing.
    pub fn parse(file: Option<&str>, environment: &BTreeMap<String, String>) -> Result<Self> {
        let mut table: toml::Table = match file {
            Some(text) => toml::from_str(text)
                .map_err(|e| ConfigError(format!("the configuration file is not TOML: {e}")))?,
            None => toml::Table::new(),
        };
        // Unset and empty are the same.
        let environment: BTreeMap<&str, &str> = environment
            .iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let given = |name: &str| environment.get(name).copied();
        if let Some(port) = given("CRABSHACK_PORT").filter(|_| given("RYOKAN_LISTEN").is_none()) {
            set(
                &mut table,
                "server.listen",
                toml::Value::String(format!("127.0.0.1:{port}")),
                "CRABSHACK_PORT",
            )?;
        }
        if given("CRABSHACK_DEBUG") == Some("1") && given("RYOKAN_LOG").is_none() {
            set(&mut table, "log.filter", toml::Value::String("debug".into()), "CRABSHACK_DEBUG")?;
        }
        for (name, key, fallback) in VARIABLES {
            let found =
                given(name).map(|v| (*name, v)).or_else(|| fallback.and_then(|f| given(f).map(|v| (f, v))));
            if let Some((source, value)) = found {
                set(&mut table, key, from_text(key, value, source)?, source)?;
            }
        }
        // The value is not repeated in the message: it may be a secret.
        let mut config: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError(format!("configuration: {}", e.message())))?;
        config.engine.runtime_dir = given("XDG_RUNTIME_DIR").map(PathBuf::from);
        config.build.check().map_err(ConfigError)?;
        config.check()?;
        Ok(config)
    }

    /// Variables that begin like ours and mean nothing: most likely misspelt.
    pub fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
        const CLIENT: &[&str] = &[
            "RYOKAN_URL",
            "RYOKAN_TOKEN",
            "RYOKAN_CONFIG",
            "RYOKAN_REFUSE_SKIPS",
            "RYOKAN_ENGINE",
            "RYOKAN_DOCKERD_FLAGS",
        ];
        const PREFIXES: &[&str] = &["RYOKAN_TEST_", "RYOKAN_CRASH_"];
        environment
            .keys()
            .filter(|k| k.starts_with("RYOKAN_"))
            .filter(|k| !CLIENT.contains(&k.as_str()) && !PREFIXES.iter().any(|p| k.starts_with(p)))
            .filter(|k| VARIABLES.iter().all(|(name, ..)| name != k))
            .cloned()
            .collect()
    }

    fn check(&self) -> Result<()> {
        let zone = &self.server.zone;
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !zone.split('.').all(label) || zone.parse::<IpAddr>().is_ok() {
            return Err(ConfigError(
                "server.zone: must be a domain in lower case, such as `localhost` or `agents.example.com`"
                    .into(),
            ));
        }
        if let Some(url) = &self.server.public_url
            && !((url.starts_with("http://") || url.starts_with("https://"))
                && !url.ends_with('/')
                && url.matches('/').count() == 2)
        {
            return Err(ConfigError(
                "server.public_url: must be an origin without a path, such as `https://agents.example.com`"
                    .into(),
            ));
        }
        let https = self.server.public_url.as_deref().is_some_and(|u| u.starts_with("https://"));
        let behind_tls = https && !self.server.trusted_proxies.is_empty();
        if !self.server.listen.ip().is_loopback() && !behind_tls && !self.server.allow_public_http {
            return Err(ConfigError(format!(
                "server.listen: {} is not a loopback address and there is no TLS. Either listen on 127.0.0.1, or put a TLS proxy in front and set `public_url = \"https://…\"` and `trusted_proxies`, or set `allow_public_http = true` if this network is private",
                self.server.listen
            )));
        }
        for cidr in &self.server.trusted_proxies {
            cidr.parse::<ryokan_gateway::Cidr>().map_err(|_| {
                ConfigError(format!(
                    "server.trusted_proxies: `{cidr}` is not a network, as in \"10.0.0.0/8\""
                ))
            })?;
        }
        if self.server.admin_secret.as_ref().is_some_and(|s| s.expose().len() < 16) {
            return Err(ConfigError("server.admin_secret: must have at least 16 characters".into()));
        }
        if !matches!(self.engine.reach.as_deref(), None | Some("bridge" | "loopback")) {
            return Err(ConfigError("engine.reach: must be `bridge` or `loopback`".into()));
        }
        if self.engine.gpus.is_some_and(|gpus| gpus > 1024) {
            return Err(ConfigError("engine.gpus: must be a whole number from 0 to 1024".into()));
        }
        if self.limits.requests_per_second == 0 {
            return Err(ConfigError("limits.requests_per_second: must be at least 1".into()));
        }
        self.identity.check()?;
        self.payments.check()?;
        self.funding.check()?;
        if let Some(key) = self.retention.too_short() {
            return Err(ConfigError(format!("retention.{key}: must be at least 1h, or \"forever\"")));
        }
        if let Some(problem) = self.metering.problem() {
            return Err(ConfigError(problem.into()));
        }
        self.mail.options().map_err(|problem| ConfigError(problem.into()))?;
        self.billing
            .rates()
            .validate("billing")
            .map_err(|e| ConfigError(format!("{}: {}", e.field, e.problem)))?;
        Ok(())
    }

    /// For people: everything, with secrets as `(set)`.
    pub fn redacted(&self) -> serde_json::Value {
        let hidden = |s: &Option<Secret>| s.as_ref().map(|_| "(set)");
        serde_json::json!({
            "server": {
                "listen": self.server.listen, "zone": self.server.zone, "public_url": self.server.public_url,
                "allow_public_http": self.server.allow_public_http, "trusted_proxies": self.server.trusted_proxies,
                "stop_grace": self.server.stop_grace, "admin_secret": hidden(&self.server.admin_secret), "data_dir": self.server.data_dir,
            },
            "store": { "database_url": hidden(&self.store.database_url) },
            "secrets": { "key": hidden(&self.secrets.key), "key_file": self.secrets.key_file },
            "engine": {
                "socket": self.engine.socket, "reach": self.engine.reach, "allow_unlimited": self.engine.allow_unlimited,
                "gpus": self.engine.gpus,
            },
            "limits": {
                "instances_per_project": self.limits.instances_per_project, "memory_per_instance": self.limits.memory_per_instance,
                "cpus_per_instance": self.limits.cpus_per_instance, "requests_per_second": self.limits.requests_per_second,
            },
            "identity": self.identity.redacted(),
            "payments": self.payments.redacted(),
            "funding": self.funding,
            "build": self.build,
            "databases": self.databases,
            "retention": self.retention,
            "metering": self.metering.redacted(),
            "billing": self.billing,
            "mail": self.mail.redacted(),
            "dns": { "servers": self.dns.servers },
            "egress": self.egress,
            "log": { "filter": self.log.filter, "format": match self.log.format { LogFormat::Text => "text", LogFormat::Json => "json" } },
        })
    }

    pub fn requests_per_second(&self) -> NonZeroU32 {
        NonZeroU32::new(self.limits.requests_per_second).unwrap_or(NonZeroU32::MIN)
    }

    pub fn limits(&self) -> ryokan_app::Limits {
        ryokan_app::Limits {
            instances_per_project: self.limits.instances_per_project,
            memory_per_instance: self.limits.memory_per_instance,
            cpus_per_instance: self.limits.cpus_per_instance,
        }
    }
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value, source: &str) -> Result<()> {
    let (section, name) = key.split_once('.').unwrap_or(("server", key));
    let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let Some(section) = entry.as_table_mut() else {
        return Err(ConfigError(format!("{source}: `{section}` in the file is not a section")));
    };
    section.insert(name.to_owned(), value);
    Ok(())
}

/// A variable's text as the kind of value that its key has.
fn from_text(key: &str, value: &str, source: &str) -> Result<toml::Value> {
    Ok(match key {
        "server.allow_public_http"
        | "engine.allow_unlimited"
        | "identity.open_registration"
        | "payments.enabled"
        | "funding.enabled"
        | "billing.enabled"
        | "billing.webhooks_to_private"
        | "egress.private_issuers" => match value {
            "1" | "true" | "yes" => toml::Value::Boolean(true),
            "0" | "false" | "no" => toml::Value::Boolean(false),
            _ => return Err(ConfigError(format!("{source}: must be `true` or `false`"))),
        },
        "server.trusted_proxies" | "identity.certifiers" | "dns.servers" => {
            toml::Value::Array(value.split(',').map(|v| toml::Value::String(v.trim().to_owned())).collect())
        }
        "limits.instances_per_project"
        | "limits.requests_per_second"
        | "engine.gpus"
        | "billing.core"
        | "billing.memory_gb"
        | "billing.disk_gb"
        | "billing.network_gb"
        | "billing.gpu"
        | "funding.minimum"
        | "funding.target"
        | "funding.fee_per_kb"
        | "funding.per_day"
        | "funding.in_all"
        | "mail.port"
        | "egress.port" => toml::Value::Integer(
            value.parse().map_err(|_| ConfigError(format!("{source}: must be a number")))?,
        ),
        _ => toml::Value::String(value.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::parse(Some(file), &environment)
    }

    #[test]
    fn the_environment_wins_and_crabshack_is_the_fallback() {
        let config = parse(
            "[server]\nzone = \"a.example\"",
            &[("RYOKAN_ZONE", "b.example"), ("CRABSHACK_ADMIN_SECRET", "long enough for one")],
        )
        .unwrap();
        assert_eq!(config.server.zone, "b.example");
        assert_eq!(config.server.admin_secret.unwrap().expose(), "long enough for one");
        let both =
            parse("", &[("CRABSHACK_PORT", "7777"), ("CRABSHACK_DATA_DIR", "/x"), ("CRABSHACK_DEBUG", "1")])
                .unwrap();
        assert_eq!((both.server.listen.port(), both.log.filter.as_str()), (7777, "debug"));
        assert_eq!(
            parse("", &[("CRABSHACK_DATA_DIR", "/x"), ("RYOKAN_DATA_DIR", "/y")]).unwrap().server.data_dir,
            PathBuf::from("/y")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, environment, expected) in [
            ("[server]\nlissten = \"x\"", &[][..], "lissten"),
            ("[sever]", &[], "sever"),
            ("[server]\nlisten = \"0.0.0.0:7700\"", &[], "allow_public_http"),
            ("[server]\nzone = \"A.b\"", &[], "server.zone"),
            ("[server]\npublic_url = \"http://x/y\"", &[], "server.public_url"),
            ("", &[("RYOKAN_TRUSTED_PROXIES", "10.0.0.0/8,nonsense")], "nonsense"),
            ("", &[("RYOKAN_ADMIN_SECRET", "short")], "admin_secret"),
            ("", &[("MAINNET_PRIVATE_KEY", "short")], "identity.mainnet_key"),
            ("", &[("RYOKAN_CERTIFIERS", "02aa")], "identity.certifiers"),
            ("[identity]\ncertificate_type = \"x\"", &[], "identity.certificate_type"),
            ("[identity]\nhandshakes_per_minute = 0", &[], "identity.handshakes_per_minute"),
            ("[identity]\nmax_body = \"1Gi\"", &[], "identity.max_body"),
            ("", &[("RYOKAN_ALLOW_PUBLIC_HTTP", "maybe")], "RYOKAN_ALLOW_PUBLIC_HTTP"),
            ("", &[("RYOKAN_MEMORY_PER_INSTANCE", "lots")], "lots"),
            ("", &[("RYOKAN_ENGINE_GPUS", "all")], "RYOKAN_ENGINE_GPUS"),
            ("[engine]\ngpus = 1025", &[], "engine.gpus"),
            ("[engine]\ngpus = -1", &[], "-1"),
            ("[build]\nkeep_revisions = 0", &[], "build.keep_revisions"),
            ("[build]\ndisk = \"plenty\"", &[], "plenty"),
            ("[retention]\nevents = \"5m\"", &[], "retention.events"),
            ("", &[("PROMETHEUS_URL", "http://ada:hush@x")], "metering.prometheus_url"),
            ("[funding]\nevery = \"5s\"", &[], "funding.every"),
            ("[funding]\ntarget = 99", &[], "funding.target"),
            ("", &[("RYOKAN_FUNDING_MINIMUM", "0")], "funding.minimum"),
            ("", &[("RYOKAN_ADDRESSES_URL", "ftp://x")], "payments.addresses_url"),
            ("[retention]\ndead_jobs = \"ages\"", &[], "forever"),
        ] {
            let error = parse(file, environment).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_has_happened_is_kept_for_a_time_or_for_ever() {
        let config = parse("[retention]\nevents = \"forever\"", &[("RYOKAN_RETENTION_DEAD_JOBS", "7d")]);
        let kept = config.unwrap().retention.settings();
        assert_eq!((kept.events, kept.dead_jobs), (None, Some(std::time::Duration::from_hours(7 * 24))));
        let default = parse("", &[]).unwrap();
        assert_eq!(default.redacted()["retention"]["events"], "90d");
    }

    #[test]
    fn public_binds_need_a_reason() {
        parse("[server]\nlisten = \"0.0.0.0:7700\"\nallow_public_http = true", &[]).unwrap();
        parse("[server]\nlisten = \"0.0.0.0:7700\"\npublic_url = \"https://x.example\"\ntrusted_proxies = [\"10.0.0.0/8\"]", &[]).unwrap();
    }

    #[test]
    fn secrets_stay_out_of_what_is_shown() {
        let config = parse(
            "",
            &[
                ("RYOKAN_ADMIN_SECRET", "hunter2hunter2hunter2"),
                ("RYOKAN_DATABASE_URL", "postgres://u:hunter2@h/d"),
                ("TESTNET_PRIVATE_KEY", &"1f".repeat(32)),
                ("RYOKAN_PROMETHEUS_TOKEN", "hunter2"),
            ],
        )
        .unwrap();
        let shown = format!("{config:?}{}", config.redacted());
        assert!(!shown.contains("hunter2") && !shown.contains("1f1f"), "{shown}");
    }

    #[test]
    fn misspelt_variables_are_found() {
        let environment = [("RYOKAN_LISTTEN", "x"), ("RYOKAN_URL", "x"), ("RYOKAN_LOG", "x")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        assert_eq!(Config::unknown_variables(&environment), ["RYOKAN_LISTTEN"]);
    }
}
