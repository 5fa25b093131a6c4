//! What an instance should be: the engine-neutral description that a template and a user's request become, and that a
//! `Runtime` is asked to make true. Secrets are not in it; only their names are.

mod egress;
mod field;
mod gateway;
mod ports;
mod resources;
mod restart;
mod security;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use egress::EgressProfile;
pub use field::env_name;
pub use gateway::{Access, GatewayPolicy, OriginPolicy, UpstreamAuth};
pub use ports::{Port, Protocol};
pub use resources::Resources;
pub use restart::{RestartMode, RestartPolicy};
pub use security::Security;
pub use storage::{ConfigFile, FileOwnership, VolumeMount, is_volume_name};

use self::field::text;
use crate::Invalid;
use crate::image::ImageRef;
use crate::probe::Probe;
use crate::project::Inherited;
use crate::quantity::Span;

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
    /// What the artifact that it was deployed from brings. Everything else wins over these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifact_env: BTreeMap<String, String>,
    /// Secret variables that it is given of the databases beside it. Everything else wins over these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addon_env: BTreeSet<String>,
    /// What it is given of its project; kept up to date with it.
    #[serde(default, skip_serializing_if = "Inherited::is_empty")]
    pub inherited: Inherited,
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
    pub egress: EgressProfile,
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

pub(crate) fn yes() -> bool {
    true
}

const MAX_ENV: usize = 256;
const MAX_TEXT: usize = 32 * 1024;

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
            artifact_env: BTreeMap::new(),
            addon_env: BTreeSet::new(),
            inherited: Inherited::default(),
            resources: Resources::default(),
            ports: Vec::new(),
            startup: None,
            readiness: None,
            volumes: Vec::new(),
            files: Vec::new(),
            security: Security::default(),
            egress: EgressProfile::default(),
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
        self.restart.validate()?;
        self.resources.validate()?;
        ports::validate(&self.ports)?;
        if let Some(probe) = &self.startup {
            probe.validate(&self.ports).map_err(|e| e.under("startup"))?;
        }
        if let Some(probe) = &self.readiness {
            probe.validate(&self.ports).map_err(|e| e.under("readiness"))?;
        }
        storage::validate(&self.volumes, &self.files)?;
        self.security.validate()?;
        let isolation = self.security.isolation.as_str();
        if self.resources.gpus > 0 && ![Security::DEFAULT_ISOLATION, "nvidia"].contains(&isolation) {
            return Err(Invalid::new(
                "resources.gpus",
                format!(
                    "`{isolation}` is not known to pass GPUs on; take the isolation `{}`, or none",
                    Security::DEFAULT_ISOLATION
                ),
            ));
        }
        self.gateway.validate(&self.secret_env)
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
        Ok(())
    }

    /// All plain variables that its process is given: its own, the project's where it has none of that name, and its
    /// artifact's where neither has.
    pub fn effective_env(&self) -> BTreeMap<String, String> {
        let artifact =
            self.artifact_env.iter().filter(|(name, _)| !self.inherited.secret_env.contains(*name));
        let theirs = artifact.chain(&self.inherited.env).filter(|(name, _)| !self.secret_env.contains(*name));
        theirs.chain(&self.env).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The project's secrets that its process is given.
    pub fn inherited_secrets(&self) -> impl Iterator<Item = &String> {
        self.inherited
            .secret_env
            .iter()
            .filter(|name| !self.env.contains_key(*name) && !self.secret_env.contains(*name))
    }

    /// The secrets of the databases beside it that its process is given: those that nobody else gave it.
    pub fn addon_secrets(&self) -> impl Iterator<Item = &String> {
        self.addon_env.iter().filter(|name| {
            let plain = [&self.env, &self.artifact_env, &self.inherited.env];
            let secret = [&self.secret_env, &self.inherited.secret_env];
            !plain.iter().any(|all| all.contains_key(*name)) && !secret.iter().any(|all| all.contains(*name))
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Bytes;

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
            (|s| s.resources.gpus = 65, "resources.gpus"),
            (
                |s| {
                    s.resources.gpus = 1;
                    s.security.isolation = "runsc".into();
                },
                "resources.gpus",
            ),
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
    fn its_own_variables_win_over_the_projects() {
        let mut spec = spec();
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        spec.env = pairs(&[("A", "own"), ("S1", "own")]);
        spec.secret_env = ["B".to_owned()].into();
        spec.inherited.env = pairs(&[("A", "project"), ("B", "project"), ("C", "project")]);
        spec.inherited.secret_env = ["S1".to_owned(), "S2".to_owned(), "B".to_owned()].into();
        assert_eq!(spec.effective_env(), pairs(&[("A", "own"), ("C", "project"), ("S1", "own")]));
        assert_eq!(spec.inherited_secrets().collect::<Vec<_>>(), ["S2"]);
        spec.artifact_env =
            pairs(&[("A", "art"), ("B", "art"), ("C", "art"), ("D", "art"), ("S1", "art"), ("S2", "art")]);
        assert_eq!(
            spec.effective_env(),
            pairs(&[("A", "own"), ("C", "project"), ("D", "art"), ("S1", "own")])
        );
        spec.addon_env = ["A", "B", "C", "D", "S1", "S2", "E"].map(str::to_owned).into();
        assert_eq!(spec.addon_secrets().collect::<Vec<_>>(), ["E"], "nobody's variable is overwritten");
    }

    #[test]
    fn json_round_trips_and_refuses_the_unknown() {
        let json = serde_json::to_string(&spec()).unwrap();
        assert_eq!(serde_json::from_str::<InstanceSpec>(&json).unwrap(), spec());
        assert!(serde_json::from_str::<InstanceSpec>(r#"{"image":"a","privileged":true}"#).is_err());
        let gpus = |json: &str| serde_json::from_str::<Resources>(&format!("{{\"gpus\":{json}}}"));
        assert_eq!(gpus("2").unwrap().gpus, 2);
        for bad in ["-1", "0.5", "\"1\"", "null", "[1]", "4294967296"] {
            assert!(gpus(bad).is_err(), "{bad}");
        }
    }
}
