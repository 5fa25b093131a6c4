//! What an instance should be: the engine-neutral description that a template and a user's request become, and that a
//! `Runtime` is asked to make true. Secrets are not in it; only their names are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::image::ImageRef;
use crate::probe::Probe;
use crate::quantity::{Bytes, Cpus, Span};

/// Everything about an instance that a change of needs a new container, and what the gateway must know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceSpec {
    pub image: ImageRef,
    #[serde(default)]
    pub pull: PullPolicy,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's default arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of variables whose values are sealed in the store.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret_env: BTreeSet<String>,
    #[serde(default)]
    pub resources: Resources,
    /// The first is the gateway's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ConfigFile>,
    #[serde(default)]
    pub security: Security,
    #[serde(default)]
    pub restart: RestartPolicy,
    #[serde(default = "InstanceSpec::default_grace")]
    pub stop_grace: Span,
    /// The container's host name; the instance's own name when absent. Fixed for its whole life either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Never two containers at a time on its volumes, not even during an update.
    #[serde(default = "yes")]
    pub single_writer: bool,
    #[serde(default)]
    pub gateway: GatewayPolicy,
}

/// Whether the registry is asked before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PullPolicy {
    Always,
    #[default]
    IfMissing,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    #[serde(default = "Resources::default_cpus")]
    pub cpus: Cpus,
    #[serde(default = "Resources::default_memory")]
    pub memory: Bytes,
    /// Processes and threads.
    #[serde(default = "Resources::default_pids")]
    pub pids: u32,
}

impl Resources {
    fn default_cpus() -> Cpus {
        Cpus::from_millis(1000)
    }
    fn default_memory() -> Bytes {
        Bytes::mebi(512)
    }
    fn default_pids() -> u32 {
        512
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: Self::default_cpus(), memory: Self::default_memory(), pids: Self::default_pids() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Port {
    pub name: String,
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Protocol {
    #[default]
    Http,
    Tcp,
}

/// A named disk of the instance that outlives its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeMount {
    pub name: String,
    pub path: String,
    #[serde(default)]
    pub read_only: bool,
}

/// A file put into the container before it starts. Its content is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigFile {
    pub path: String,
    pub content: String,
    /// Octal permissions, as in `"0640"`.
    #[serde(default = "ConfigFile::default_mode")]
    pub mode: String,
    /// `seed`: written only when the path does not exist, then the agent's own. `managed`: written at every start.
    #[serde(default)]
    pub ownership: FileOwnership,
}

impl ConfigFile {
    fn default_mode() -> String {
        "0644".to_owned()
    }

    /// The permissions as a number; [`InstanceSpec::validate`] has checked that it is one.
    pub fn mode_bits(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o644) & 0o777
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FileOwnership {
    #[default]
    Seed,
    Managed,
}

/// How the container is fenced in. What is not granted here is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Security {
    /// The engine's runtime: `runc`, or any other that it offers, such as `runsc`, `kata`, `sysbox-runc`.
    #[serde(default = "Security::default_isolation")]
    pub isolation: String,
    /// `UID[:GID]`; the image's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default)]
    pub read_only_root: bool,
    /// Capabilities kept, as in `NET_BIND_SERVICE`. All others are dropped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// Writable memory-backed folders for a read-only root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
}

impl Security {
    pub const DEFAULT_ISOLATION: &'static str = "runc";

    fn default_isolation() -> String {
        Self::DEFAULT_ISOLATION.to_owned()
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            isolation: Self::default_isolation(),
            user: None,
            read_only_root: false,
            capabilities: BTreeSet::new(),
            tmpfs: Vec::new(),
        }
    }
}

/// What happens when the container ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestartPolicy {
    #[serde(default)]
    pub mode: RestartMode,
    /// Exit codes after which a restart cannot help; the instance fails at once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fatal_exit_codes: BTreeSet<i64>,
    /// Crashes without a stable run in between until the instance fails.
    #[serde(default = "RestartPolicy::default_max_crashes")]
    pub max_crashes: u32,
    /// A run of this length forgives earlier crashes.
    #[serde(default = "RestartPolicy::default_stable_after")]
    pub stable_after: Span,
    #[serde(default = "RestartPolicy::default_backoff")]
    pub backoff: Span,
    #[serde(default = "RestartPolicy::default_max_backoff")]
    pub max_backoff: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RestartMode {
    #[default]
    Always,
    /// An exit with 0 is the end of its work: the instance is `stopped`.
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn default_max_crashes() -> u32 {
        10
    }
    fn default_stable_after() -> Span {
        Span::seconds(600)
    }
    fn default_backoff() -> Span {
        Span::seconds(1)
    }
    fn default_max_backoff() -> Span {
        Span::seconds(60)
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            mode: RestartMode::default(),
            fatal_exit_codes: BTreeSet::new(),
            max_crashes: Self::default_max_crashes(),
            stable_after: Self::default_stable_after(),
            backoff: Self::default_backoff(),
            max_backoff: Self::default_max_backoff(),
        }
    }
}

/// How the gateway treats requests to the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayPolicy {
    #[serde(default)]
    pub access: Access,
    #[serde(default)]
    pub upstream_auth: UpstreamAuth,
    #[serde(default)]
    pub origin: OriginPolicy,
    #[serde(default = "yes")]
    pub websocket: bool,
}

impl Default for GatewayPolicy {
    fn default() -> Self {
        Self {
            access: Access::default(),
            upstream_auth: UpstreamAuth::default(),
            origin: OriginPolicy::default(),
            websocket: true,
        }
    }
}

/// Who may reach the agent through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever presents a token that may read the instance.
    Token,
    /// Its owner and the project's members, signed in or with a token.
    #[default]
    Private,
}

/// How the gateway shows itself to the agent. `secret` names one of the instance's secret variables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum UpstreamAuth {
    #[default]
    None,
    Bearer {
        secret: String,
    },
    Basic {
        user: String,
        secret: String,
    },
    Query {
        parameter: String,
        secret: String,
    },
    /// The agent trusts the proxy to name the user in `user_header`.
    TrustedProxy {
        user_header: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// The client itself sends the token inside its first WebSocket frame; the gateway does nothing.
    TokenInFrame,
    /// A signed token for each user in `header`.
    SignedJwt {
        header: String,
        audience: String,
    },
}

/// What becomes of the browser's `Origin` on the way to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OriginPolicy {
    #[default]
    Keep,
    /// `http://127.0.0.1:PORT` of the agent.
    Loopback,
    Set(String),
    Remove,
}

pub(crate) fn yes() -> bool {
    true
}

const MAX_ITEMS: usize = 64;
const MAX_ENV: usize = 256;
const MAX_TEXT: usize = 32 * 1024;
const KNOWN_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl InstanceSpec {
    fn default_grace() -> Span {
        Span::seconds(10)
    }

    /// A spec with nothing but an image.
    pub fn new(image: ImageRef) -> Self {
        Self {
            image,
            pull: PullPolicy::default(),
            command: None,
            args: None,
            env: BTreeMap::new(),
            secret_env: BTreeSet::new(),
            resources: Resources::default(),
            ports: Vec::new(),
            startup: None,
            readiness: None,
            volumes: Vec::new(),
            files: Vec::new(),
            security: Security::default(),
            restart: RestartPolicy::default(),
            stop_grace: Self::default_grace(),
            hostname: None,
            single_writer: true,
            gateway: GatewayPolicy::default(),
        }
    }

    /// Checks every field; the error names the first that is wrong by its path.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_process()?;
        self.validate_resources()?;
        self.validate_ports()?;
        if let Some(probe) = &self.startup {
            probe.validate(&self.ports).map_err(|e| e.under("startup"))?;
        }
        if let Some(probe) = &self.readiness {
            probe.validate(&self.ports).map_err(|e| e.under("readiness"))?;
        }
        self.validate_files()?;
        self.validate_security()?;
        self.validate_gateway()
    }

    fn validate_process(&self) -> Result<(), Invalid> {
        for (field, list) in [("command", &self.command), ("args", &self.args)] {
            for (i, word) in list.iter().flatten().enumerate() {
                text(&format!("{field}[{i}]"), word, MAX_TEXT)?;
            }
            if list.as_ref().is_some_and(|l| l.len() > MAX_ENV) {
                return Err(Invalid::new(field, format!("at most {MAX_ENV} words")));
            }
        }
        if self.env.len() + self.secret_env.len() > MAX_ENV {
            return Err(Invalid::new("env", format!("at most {MAX_ENV} variables")));
        }
        for (name, value) in &self.env {
            env_name("env", name)?;
            text(&format!("env.{name}"), value, MAX_TEXT)?;
            if self.secret_env.contains(name) {
                return Err(Invalid::new(
                    format!("env.{name}"),
                    "is given as a secret as well; give it once",
                ));
            }
        }
        self.secret_env.iter().try_for_each(|name| env_name("secret_env", name))?;
        if let Some(hostname) = &self.hostname {
            let ok = !hostname.is_empty()
                && hostname.len() <= 63
                && hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !hostname.starts_with('-')
                && !hostname.ends_with('-');
            if !ok {
                return Err(Invalid::new(
                    "hostname",
                    "must be one DNS label: letters, digits and inner `-`, at most 63",
                ));
            }
        }
        if self.stop_grace > Span::seconds(3600) {
            return Err(Invalid::new("stop_grace", "must be at most 1h"));
        }
        if self.restart.max_crashes == 0 {
            return Err(Invalid::new("restart.max_crashes", "must be at least 1"));
        }
        if self.restart.backoff > self.restart.max_backoff || self.restart.max_backoff > Span::seconds(3600) {
            return Err(Invalid::new("restart.max_backoff", "must be between `restart.backoff` and 1h"));
        }
        Ok(())
    }

    fn validate_resources(&self) -> Result<(), Invalid> {
        if self.resources.memory.get() < Bytes::MIN_MEMORY {
            return Err(Invalid::new("resources.memory", "must be at least 6Mi"));
        }
        if self.resources.pids < 8 || self.resources.pids > 65_536 {
            return Err(Invalid::new("resources.pids", "must be between 8 and 65536"));
        }
        Ok(())
    }

    fn validate_ports(&self) -> Result<(), Invalid> {
        if self.ports.len() > 16 {
            return Err(Invalid::new("ports", "at most 16"));
        }
        let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for (i, port) in self.ports.iter().enumerate() {
            let at = format!("ports[{i}]");
            label(&format!("{at}.name"), &port.name, 15)?;
            if port.port == 0 {
                return Err(Invalid::new(format!("{at}.port"), "must be between 1 and 65535"));
            }
            if !names.insert(&port.name) {
                return Err(Invalid::new(format!("{at}.name"), format!("`{}` is used twice", port.name)));
            }
            if !numbers.insert(port.port) {
                return Err(Invalid::new(format!("{at}.port"), format!("{} is used twice", port.port)));
            }
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<(), Invalid> {
        if self.volumes.len() > 16 {
            return Err(Invalid::new("volumes", "at most 16"));
        }
        let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for (i, volume) in self.volumes.iter().enumerate() {
            let at = format!("volumes[{i}]");
            label(&format!("{at}.name"), &volume.name, 30)?;
            absolute(&format!("{at}.path"), &volume.path)?;
            if !names.insert(&volume.name) || !paths.insert(&volume.path) {
                return Err(Invalid::new(at, "its name or path is used twice"));
            }
        }
        if self.files.len() > MAX_ITEMS {
            return Err(Invalid::new("files", format!("at most {MAX_ITEMS}")));
        }
        for (i, file) in self.files.iter().enumerate() {
            let at = format!("files[{i}]");
            absolute(&format!("{at}.path"), &file.path)?;
            text(&format!("{at}.content"), &file.content, 256 * 1024)?;
            let ok = (3..=4).contains(&file.mode.len())
                && u32::from_str_radix(&file.mode, 8).is_ok_and(|m| m <= 0o777);
            if !ok {
                return Err(Invalid::new(
                    format!("{at}.mode"),
                    "must be octal permissions from \"000\" to \"0777\"",
                ));
            }
        }
        Ok(())
    }

    fn validate_security(&self) -> Result<(), Invalid> {
        label("security.isolation", &self.security.isolation, 40)?;
        if let Some(user) = &self.security.user {
            let numeric = |s: &str| !s.is_empty() && s.len() <= 10 && s.bytes().all(|b| b.is_ascii_digit());
            let ok = match user.split_once(':') {
                Some((u, g)) => numeric(u) && numeric(g),
                None => numeric(user),
            };
            if !ok {
                return Err(Invalid::new(
                    "security.user",
                    "must be a number, as in \"1000\" or \"1000:1000\"",
                ));
            }
        }
        for capability in &self.security.capabilities {
            if !KNOWN_CAPABILITIES.contains(&capability.as_str()) {
                return Err(Invalid::new(
                    "security.capabilities",
                    format!(
                        "`{capability}` cannot be granted; allowed are {}",
                        KNOWN_CAPABILITIES.join(", ")
                    ),
                ));
            }
        }
        if self.security.tmpfs.len() > 16 {
            return Err(Invalid::new("security.tmpfs", "at most 16"));
        }
        self.security
            .tmpfs
            .iter()
            .enumerate()
            .try_for_each(|(i, path)| absolute(&format!("security.tmpfs[{i}]"), path))
    }

    fn validate_gateway(&self) -> Result<(), Invalid> {
        let secret = |name: &String| {
            if self.secret_env.contains(name) {
                Ok(())
            } else {
                Err(Invalid::new(
                    "gateway.upstream_auth.secret",
                    format!("`{name}` is not one of the instance's secret variables"),
                ))
            }
        };
        match &self.gateway.upstream_auth {
            UpstreamAuth::Bearer { secret: s }
            | UpstreamAuth::Basic { secret: s, .. }
            | UpstreamAuth::Query { secret: s, .. } => secret(s)?,
            UpstreamAuth::TrustedProxy { user_header, headers } => {
                header_name("gateway.upstream_auth.user_header", user_header)?;
                for name in headers.keys() {
                    header_name("gateway.upstream_auth.headers", name)?;
                }
            }
            UpstreamAuth::SignedJwt { header, .. } => {
                header_name("gateway.upstream_auth.header", header)?;
                return Err(Invalid::new(
                    "gateway.upstream_auth.mode",
                    "`signed_jwt` is not available yet; use `trusted_proxy`",
                ));
            }
            UpstreamAuth::None | UpstreamAuth::TokenInFrame => {}
        }
        if let OriginPolicy::Set(origin) = &self.gateway.origin
            && !(origin.starts_with("http://") || origin.starts_with("https://"))
        {
            return Err(Invalid::new("gateway.origin", "must be an origin, as in \"https://example.com\""));
        }
        Ok(())
    }

    /// The port that the gateway talks to.
    pub fn gateway_port(&self) -> Option<&Port> {
        self.ports.first()
    }

    /// The probe that ends `starting`: the startup one, else the readiness one, else a connection to the first port.
    pub fn startup_probe(&self) -> Option<Probe> {
        self.startup
            .clone()
            .or_else(|| self.readiness.clone())
            .or_else(|| self.ports.first().map(|p| Probe::tcp(&p.name)))
    }
}

fn text(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    if value.len() > max {
        return Err(Invalid::new(field, format!("is longer than {max} bytes")));
    }
    if value.contains('\0') {
        return Err(Invalid::new(field, "holds a NUL byte"));
    }
    Ok(())
}

/// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 long.
pub fn env_name(field: &str, name: &str) -> Result<(), Invalid> {
    let ok = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!(
                "`{}` is not a variable name: letters, digits and `_`, not beginning with a digit",
                name.chars().take(60).collect::<String>()
            ),
        ))
    }
}

fn label(field: &str, value: &str, max: usize) -> Result<(), Invalid> {
    let ok = !value.is_empty()
        && value.len() <= max
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !value.ends_with('-')
        && !value.contains("--")
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!("must be lower-case letters, digits and single inner `-`, at most {max}"),
        ))
    }
}

fn absolute(field: &str, path: &str) -> Result<(), Invalid> {
    let ok = path.len() > 1
        && path.len() <= 512
        && path.starts_with('/')
        && !path.ends_with('/')
        && !path.bytes().any(|b| b < b' ' || b == b':')
        && path[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            "must be an absolute path such as \"/data\", without `..`, `:` or a trailing `/`",
        ))
    }
}

fn header_name(field: &str, name: &str) -> Result<(), Invalid> {
    let ok =
        !name.is_empty() && name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if ok {
        Ok(())
    } else {
        Err(Invalid::new(
            field,
            format!("`{}` is not a header name", name.chars().take(60).collect::<String>()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> InstanceSpec {
        let mut spec = InstanceSpec::new("a/b:1".parse().unwrap());
        spec.ports = vec![Port { name: "http".into(), port: 3000, protocol: Protocol::Http }];
        spec
    }

    #[test]
    fn a_bad_field_is_named_by_its_path() {
        type Break = fn(&mut InstanceSpec);
        let cases: &[(Break, &str)] = &[
            (|s| s.ports.push(s.ports[0].clone()), "ports[1].name"),
            (|s| s.ports[0].port = 0, "ports[0].port"),
            (|s| s.ports[0].name = "a--b".into(), "ports[0].name"),
            (|s| s.resources.memory = Bytes::new(1024), "resources.memory"),
            (|s| s.resources.pids = 1, "resources.pids"),
            (
                |s| {
                    s.env.insert("1X".into(), String::new());
                },
                "env",
            ),
            (
                |s| {
                    s.env.insert("X".into(), "\0".into());
                },
                "env.X",
            ),
            (
                |s| {
                    s.volumes.push(VolumeMount {
                        name: "data".into(),
                        path: "/a/../b".into(),
                        read_only: false,
                    });
                },
                "volumes[0].path",
            ),
            (
                |s| s.volumes.push(VolumeMount { name: "data".into(), path: "/".into(), read_only: false }),
                "volumes[0].path",
            ),
            (
                |s| {
                    s.files.push(ConfigFile {
                        path: "/x".into(),
                        content: String::new(),
                        mode: "9".into(),
                        ownership: FileOwnership::Seed,
                    });
                },
                "files[0].mode",
            ),
            (|s| s.security.user = Some("root".into()), "security.user"),
            (
                |s| {
                    s.security.capabilities.insert("SYS_ADMIN".into());
                },
                "security.capabilities",
            ),
            (|s| s.security.isolation = "../x".into(), "security.isolation"),
            (|s| s.hostname = Some("a.b".into()), "hostname"),
            (|s| s.readiness = Some(Probe::tcp("nope")), "readiness.check.port"),
            (
                |s| s.gateway.upstream_auth = UpstreamAuth::Bearer { secret: "NOPE".into() },
                "gateway.upstream_auth.secret",
            ),
            (|s| s.restart.max_crashes = 0, "restart.max_crashes"),
        ];
        spec().validate().unwrap();
        for (break_it, field) in cases {
            let mut bad = spec();
            break_it(&mut bad);
            assert_eq!(bad.validate().unwrap_err().field, *field);
        }
    }

    #[test]
    fn json_round_trips_and_refuses_the_unknown() {
        let json = serde_json::to_string(&spec()).unwrap();
        assert_eq!(serde_json::from_str::<InstanceSpec>(&json).unwrap(), spec());
        assert!(serde_json::from_str::<InstanceSpec>(r#"{"image":"a","privileged":true}"#).is_err());
    }
}
