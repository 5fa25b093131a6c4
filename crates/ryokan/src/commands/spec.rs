//! The flags of `run` and `update` that describe an instance, and how they become a request.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use ryokan_api::instance::InstanceRequest;
use ryokan_api::model::Secret;
use ryokan_api::model::change::Change;
use ryokan_api::model::image::ImageRef;
use ryokan_api::model::quantity::{Bytes, Cpus, Span};
use ryokan_api::model::request::RestartChanges;
use ryokan_api::model::spec::{Access, EgressProfile, Port, Protocol, PullPolicy, RestartMode, VolumeMount};

use crate::environment;
use crate::failure::{Failure, Outcome};

const MAX_SECRET: u64 = 32 * 1024;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Instance")]
pub(crate) struct SpecFlags {
    /// Container image
    #[arg(long, value_name = "IMAGE")]
    image: Option<ImageRef>,
    /// Whether the registry is asked before a start
    #[arg(long, value_name = "WHEN")]
    pull: Option<Pull>,
    /// Port that the agent listens on; the first is the gateway's (repeatable)
    #[arg(short, long = "port", value_name = "[NAME:]PORT[/tcp]")]
    ports: Vec<PortFlag>,
    /// Variable; without a value it is taken from this environment (repeatable)
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Secret variable, from a file, from standard input, or from this environment (repeatable)
    #[arg(long = "secret", value_name = "NAME[=@FILE|=-]")]
    secrets: Vec<String>,
    /// Cores, as in 1, 0.5 or 500m
    #[arg(long, value_name = "CPUS")]
    cpus: Option<Cpus>,
    /// Memory, as in 512Mi or 2G
    #[arg(long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Most processes and threads
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// Whole GPUs
    #[arg(long, value_name = "COUNT")]
    gpus: Option<u32>,
    /// Disk of the instance that outlives its containers (repeatable)
    #[arg(long = "volume", value_name = "NAME:/PATH[:ro]")]
    volumes: Vec<VolumeFlag>,
    /// Runtime of the engine, as in runc, runsc, kata
    #[arg(long, value_name = "RUNTIME")]
    isolation: Option<String>,
    /// What it may reach: what policies let through our proxy, also DNS and the web directly, or its siblings only
    #[arg(long, value_name = "PROFILE")]
    egress: Option<Egress>,
    /// User inside the container
    #[arg(long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Root file system without write access
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only: Option<bool>,
    /// Host name inside the container
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// What happens when it ends by itself
    #[arg(long, value_name = "MODE")]
    restart: Option<Restart>,
    /// How long it may take to stop, as in 30s
    #[arg(long, value_name = "SPAN")]
    stop_grace: Option<Span>,
    /// Who may reach it through the gateway: everybody, whoever has a token, or its owner and members
    #[arg(long, value_name = "WHO")]
    access: Option<Reachable>,
    /// Program to run in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Arguments in place of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Pull {
    Always,
    #[value(alias = "if-missing")]
    IfMissing,
    Never,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Restart {
    Always,
    #[value(alias = "on-failure")]
    OnFailure,
    Never,
}

impl Restart {
    fn mode(self) -> RestartMode {
        match self {
            Self::Always => RestartMode::Always,
            Self::OnFailure => RestartMode::OnFailure,
            Self::Never => RestartMode::Never,
        }
    }
}

/// What `update` can take away.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Removable {
    Entrypoint,
    Args,
    Startup,
    Readiness,
    User,
    Hostname,
}

impl Removable {
    pub(crate) fn remove(self, request: &mut InstanceRequest) {
        match self {
            Self::Entrypoint => request.command = Change::Remove,
            Self::Args => request.args = Change::Remove,
            Self::Startup => request.startup = Change::Remove,
            Self::Readiness => request.readiness = Change::Remove,
            Self::User => request.user = Change::Remove,
            Self::Hostname => request.hostname = Change::Remove,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Egress {
    Proxy,
    Ports,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reachable {
    Public,
    Token,
    Private,
}

impl SpecFlags {
    pub(crate) fn into_request(self) -> Outcome<InstanceRequest> {
        let mut request = InstanceRequest {
            image: self.image,
            pull: self.pull.map(|pull| match pull {
                Pull::Always => PullPolicy::Always,
                Pull::IfMissing => PullPolicy::IfMissing,
                Pull::Never => PullPolicy::Never,
            }),
            command: self.entrypoint.map(|program| vec![program]).into(),
            args: (!self.command.is_empty()).then_some(self.command).into(),
            cpus: self.cpus,
            memory: self.memory,
            pids: self.pids,
            gpus: self.gpus,
            ports: ports(self.ports),
            volumes: (!self.volumes.is_empty()).then(|| self.volumes.into_iter().map(|v| v.0).collect()),
            isolation: self.isolation,
            egress: self.egress.map(|egress| match egress {
                Egress::Proxy => EgressProfile::Proxy,
                Egress::Ports => EgressProfile::Ports,
                Egress::None => EgressProfile::None,
            }),
            user: self.user.into(),
            read_only_root: self.read_only,
            hostname: self.hostname.into(),
            restart: self
                .restart
                .map(|mode| RestartChanges { mode: Some(mode.mode()), ..RestartChanges::default() }),
            stop_grace: self.stop_grace,
            access: self.access.map(|access| match access {
                Reachable::Public => Access::Public,
                Reachable::Token => Access::Token,
                Reachable::Private => Access::Private,
            }),
            ..InstanceRequest::default()
        };
        for variable in self.env {
            let (name, value) = match variable.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => match environment::variable(&variable) {
                    Some(value) => (variable, value),
                    None => {
                        return Err(Failure::usage(format!(
                            "-e {variable}: it is not set in this environment"
                        ))
                        .hint(format!("write -e {variable}=VALUE")));
                    }
                },
            };
            request.env.insert(name, Some(value));
        }
        let mut stdin_used = false;
        for secret in self.secrets {
            // Not by clap, which repeats what it refuses.
            let SecretFlag { name, source } =
                secret.parse().map_err(|why| Failure::usage(format!("--secret: {why}")))?;
            if matches!(source, SecretSource::Stdin) && std::mem::replace(&mut stdin_used, true) {
                return Err(Failure::usage("only one --secret can come from standard input"));
            }
            let value = source.read(&name)?;
            request.secret_env.insert(name, Some(Secret::new(value)));
        }
        Ok(request)
    }
}

/// The first without a name is `http`.
fn ports(flags: Vec<PortFlag>) -> Option<Vec<Port>> {
    if flags.is_empty() {
        return None;
    }
    let name = |index: usize, flag: &PortFlag| match (&flag.name, index) {
        (Some(name), _) => name.clone(),
        (None, 0) => "http".to_owned(),
        (None, _) => format!("port-{}", flag.port),
    };
    let ports = flags.iter().enumerate();
    Some(
        ports
            .map(|(i, flag)| Port { name: name(i, flag), port: flag.port, protocol: flag.protocol })
            .collect(),
    )
}

#[derive(Debug, Clone)]
struct PortFlag {
    name: Option<String>,
    port: u16,
    protocol: Protocol,
}

impl FromStr for PortFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Http),
            Some((rest, "http")) => (rest, Protocol::Http),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((_, other)) => return Err(format!("`{other}` is not a protocol: http or tcp")),
        };
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (Some(name.to_owned()), port),
            None => (None, rest),
        };
        if name.as_ref().is_some_and(|n| n.is_empty() || n.bytes().all(|b| b.is_ascii_digit())) {
            return Err("write the port inside the instance, as in 3000 or chat:3000; \
                        the gateway serves it, no port of the host is taken"
                .to_owned());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { name, port, protocol }),
            _ => Err(format!("`{port}` is not a port from 1 to 65535")),
        }
    }
}

#[derive(Debug, Clone)]
struct VolumeFlag(VolumeMount);

impl FromStr for VolumeFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, read_only) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        match rest.split_once(':') {
            Some((name, _)) if name.starts_with(['/', '.', '~']) => {
                Err("a folder of the host cannot be mounted; write the name of a disk, as in data:/data"
                    .to_owned())
            }
            Some((name, path)) if !name.is_empty() && path.starts_with('/') => {
                Ok(Self(VolumeMount { name: name.to_owned(), path: path.to_owned(), read_only }))
            }
            _ => Err("write NAME:/PATH, as in data:/data".to_owned()),
        }
    }
}

#[derive(Debug, Clone)]
struct SecretFlag {
    name: String,
    source: SecretSource,
}

#[derive(Debug, Clone)]
enum SecretSource {
    Environment,
    File(PathBuf),
    Stdin,
}

impl FromStr for SecretFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, source) = match text.split_once('=') {
            None => (text, SecretSource::Environment),
            Some((name, "-")) => (name, SecretSource::Stdin),
            Some((name, value)) => match value.strip_prefix('@') {
                Some(path) if !path.is_empty() => (name, SecretSource::File(path.into())),
                // The value must not be repeated.
                _ => {
                    return Err("a value on the command line can be read by others; write NAME=@FILE, \
                                NAME=- for standard input, or NAME to take it from the environment"
                        .to_owned());
                }
            },
        };
        if name.is_empty() {
            Err("the name is missing".to_owned())
        } else {
            Ok(Self { name: name.to_owned(), source })
        }
    }
}

impl SecretSource {
    /// One line end at the end is not part of it.
    fn read(self, name: &str) -> Outcome<String> {
        let text = match self {
            Self::Environment => environment::variable(name).ok_or_else(|| {
                Failure::usage(format!("--secret {name}: it is not set in this environment"))
                    .hint(format!("write --secret {name}=@FILE, or --secret {name}=- for standard input"))
            })?,
            Self::File(path) => std::fs::File::open(&path)
                .and_then(limited)
                .map_err(|e| Failure::usage(format!("--secret {name}=@{}: {e}", path.display())))?,
            Self::Stdin => {
                limited(std::io::stdin()).map_err(|e| Failure::usage(format!("--secret {name}=-: {e}")))?
            }
        };
        let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        Ok(text.to_owned())
    }
}

fn limited(source: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::other("it is longer than 32 KiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_parsed() {
        let port = |text: &str| text.parse::<PortFlag>().map(|p| (p.name, p.port, p.protocol));
        assert_eq!(port("3000"), Ok((None, 3000, Protocol::Http)));
        assert_eq!(port("chat:3000/tcp"), Ok((Some("chat".into()), 3000, Protocol::Tcp)));
        for bad in ["", "0", "65536", "80:80", ":80", "x/udp", "a:b"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        let volume = |text: &str| text.parse::<VolumeFlag>().map(|v| (v.0.name, v.0.path, v.0.read_only));
        assert_eq!(volume("data:/d"), Ok(("data".into(), "/d".into(), false)));
        assert_eq!(volume("data:/d:ro"), Ok(("data".into(), "/d".into(), true)));
        for bad in ["data", "/host:/d", "./x:/d", ":/d", "data:d"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
        let error = "KEY=hush".parse::<SecretFlag>().unwrap_err();
        assert!(!error.contains("hush"));
        for good in ["KEY", "KEY=-", "KEY=@f"] {
            assert!(good.parse::<SecretFlag>().is_ok(), "{good}");
        }
        for bad in ["=x", "KEY=", "KEY=@", "=-"] {
            assert!(bad.parse::<SecretFlag>().is_err(), "{bad}");
        }
    }
}
