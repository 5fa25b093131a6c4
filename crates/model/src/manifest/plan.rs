//! What a manifest wants: one or two workloads and the databases beside them. Nothing here looks at the artifact.

use std::collections::BTreeSet;

use super::parse::check_spec;
use super::{AgentKind, Manifest, RelativePath, Runtime};
use crate::Invalid;
use crate::addon::Addon;
use crate::image::ImageRef;
use crate::probe::{Check, Probe};
use crate::quantity::Span;
use crate::spec::{InstanceSpec, Port, Protocol, VolumeMount};

/// The two that a deployment may have; each is an instance of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Agent,
    Frontend,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Frontend => "frontend",
        }
    }
}

/// Where a workload's image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Image(ImageRef),
    /// `dockerfile` is a path in the artifact, not in the context.
    Dockerfile {
        context: RelativePath,
        dockerfile: RelativePath,
    },
    Generated {
        context: RelativePath,
        kind: Generated,
    },
}

/// What a Dockerfile is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generated {
    Node,
    Python,
    Agidentity,
    /// A folder of files, served.
    Static,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub role: Role,
    pub source: Source,
    /// Whole but for its image, which is a placeholder until there is one.
    pub spec: InstanceSpec,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub agent: Part,
    pub frontend: Option<Part>,
    pub addons: BTreeSet<Addon>,
}

/// Where the static frontend's server listens; it is no root, so not on port 80.
const STATIC_PORT: u16 = 8080;

impl Manifest {
    /// The same manifest gives the same plan.
    pub fn plan(&self) -> Result<Plan, Invalid> {
        let agent = self.agent_part()?;
        let frontend = self.frontend_part()?;
        let wanted = self.databases.clone().unwrap_or_default();
        let addons = [
            (wanted.mysql, Addon::Mysql),
            (wanted.mongo, Addon::Mongo),
            (wanted.redis, Addon::Redis),
            (wanted.postgres, Addon::Postgres),
        ];
        let addons = addons.into_iter().filter_map(|(wanted, addon)| wanted.then_some(addon)).collect();
        Ok(Plan { agent, frontend, addons })
    }

    fn agent_part(&self) -> Result<Part, Invalid> {
        let agent = &self.agent;
        let source = match (&agent.image, &agent.dockerfile, agent.kind, agent.runtime) {
            (Some(image), ..) => Source::Image(image.clone()),
            (_, Some(dockerfile), ..) => {
                Source::Dockerfile { context: agent.build_context.clone(), dockerfile: dockerfile.clone() }
            }
            (_, _, kind, runtime) => Source::Generated {
                context: agent.build_context.clone(),
                kind: match (kind, runtime) {
                    (AgentKind::Agidentity, None | Some(Runtime::Node)) => Generated::Agidentity,
                    (_, Some(Runtime::Python)) => Generated::Python,
                    _ => Generated::Node,
                },
            },
        };
        let mut spec = InstanceSpec::new(placeholder()?);
        spec.command.clone_from(&agent.command);
        spec.env.clone_from(&self.env);
        if let Some(resources) = &self.resources {
            spec.resources.cpus = resources.cpu.unwrap_or(spec.resources.cpus);
            spec.resources.memory = resources.memory.unwrap_or(spec.resources.memory);
            spec.resources.gpus = resources.gpu.map_or(0, |gpus| gpus.0);
        }
        let ports = self.ports();
        spec.ports = ports.iter().enumerate().map(|(i, port)| named(i, *port)).collect();
        if let Some(health) = &self.health_check {
            let at = health.port.and_then(|p| ports.iter().position(|port| *port == p)).unwrap_or(0);
            let check = Check::Http {
                port: named(at, 0).name,
                path: health.path.clone(),
                body: None,
                headers: Vec::new(),
            };
            let probe =
                Probe { check, interval: Span::seconds(health.interval_seconds.into()), ..Probe::tcp("") };
            spec.startup = Some(Probe {
                interval: Span::seconds(1),
                start_period: Span::seconds(health.startup_seconds.into()),
                retries: 1,
                ..probe.clone()
            });
            spec.readiness = Some(probe);
        }
        match self.storage.as_ref().filter(|s| s.enabled) {
            Some(storage) => spec.volumes.push(VolumeMount {
                name: "data".into(),
                path: storage.mount_path.clone(),
                read_only: false,
            }),
            // Nothing that two of them could both write to.
            None => spec.single_writer = false,
        }
        spec.gateway.access = self.access;
        Ok(Part { role: Role::Agent, source, spec })
    }

    fn frontend_part(&self) -> Result<Option<Part>, Invalid> {
        let Some(frontend) = &self.frontend else { return Ok(None) };
        let (source, port) = match &frontend.image {
            Some(image) => (Source::Image(image.clone()), 80),
            None => {
                let context = match &frontend.directory {
                    Some(directory) => directory.clone(),
                    None => "frontend".parse()?,
                };
                (Source::Generated { context, kind: Generated::Static }, STATIC_PORT)
            }
        };
        let mut spec = InstanceSpec::new(placeholder()?);
        spec.resources.memory = crate::quantity::Bytes::mebi(128);
        spec.ports = vec![named(0, port)];
        spec.single_writer = false;
        spec.gateway.access = self.access;
        Ok(Some(Part { role: Role::Frontend, source, spec }))
    }
}

impl Plan {
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.agent).chain(&self.frontend)
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        self.parts().try_for_each(|part| check_spec(&part.spec))
    }
}

fn placeholder() -> Result<ImageRef, Invalid> {
    "to-be-built".parse()
}

fn named(index: usize, port: u16) -> Port {
    let name = if index == 0 { "http".to_owned() } else { format!("port{index}") };
    Port { name, port, protocol: Protocol::Http }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Plan {
        Manifest::parse(json.as_bytes()).unwrap().plan().unwrap()
    }

    #[test]
    fn an_agent_with_a_frontend_and_a_disk() {
        let plan = plan(
            r#"{"schema": "mandala-agent", "agent": {"type": "custom", "runtime": "python", "buildContext": "srv"},
                "env": {"A": "b"}, "resources": {"cpu": "500m", "memory": "256Mi", "gpu": 2}, "ports": [9000, 9001],
                "healthCheck": {"path": "/ok", "port": 9001, "intervalSeconds": 7, "startupSeconds": 20},
                "frontend": {}, "storage": {"enabled": true}, "databases": {"redis": true, "postgres": true}}"#,
        );
        let spec = &plan.agent.spec;
        assert_eq!(
            plan.agent.source,
            Source::Generated { context: "srv".parse().unwrap(), kind: Generated::Python }
        );
        assert_eq!((spec.resources.cpus.millis(), spec.ports[1].name.as_str()), (500, "port1"));
        assert_eq!(spec.resources.gpus, 2);
        assert!(
            matches!(&spec.readiness.as_ref().unwrap().check, Check::Http { port, path, .. } if port == "port1" && path == "/ok")
        );
        assert!(spec.single_writer && spec.volumes[0].path == "/data");
        let frontend = plan.frontend.unwrap();
        assert!(
            matches!(&frontend.source, Source::Generated { context, kind: Generated::Static } if context.as_str() == "frontend")
        );
        assert!(!frontend.spec.single_writer && frontend.spec.resources.gpus == 0);
        assert_eq!(plan.addons, BTreeSet::from([Addon::Redis, Addon::Postgres]));
    }

    #[test]
    fn agidentity_has_its_own_port_and_recipe() {
        let plan = plan(r#"{"schema": "mandala-agent", "agent": {"type": "agidentity"}}"#);
        assert_eq!(plan.agent.spec.ports[0].port, 3000);
        assert!(matches!(plan.agent.source, Source::Generated { kind: Generated::Agidentity, .. }));
        assert!(!plan.agent.spec.single_writer, "it has no disk");
    }
}
