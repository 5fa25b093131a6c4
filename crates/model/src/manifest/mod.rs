//! `agent-manifest.json`: what an artifact says of itself. The fields are Mandala's, with a few of ours; parsing is
//! strict, and every refusal names the path, the value and what is allowed. What a manifest wants to run is worked out
//! by [`Manifest::plan`], a pure function.

mod parse;
mod path;
mod plan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::addon::Addon;
pub use path::RelativePath;
pub use plan::{Generated, Part, Plan, Role, Source};

use crate::Name;
use crate::image::ImageRef;
use crate::quantity::{Bytes, Cpus};
use crate::spec::Access;

/// What the file is called, at the top of an artifact.
pub const FILE: &str = "agent-manifest.json";
/// Larger than anybody writes.
pub const MAX_BYTES: usize = 256 * 1024;

/// `agent-manifest.json`. Mandala's fields, with their names; `name`, `access`, `databases.postgres`, `agent.command`
/// and `healthCheck.startupSeconds` are additions of ryokan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AgentManifest))]
pub struct Manifest {
    /// For editors: where this schema is.
    #[serde(default, rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema_url: Option<String>,
    pub schema: Schema,
    #[serde(default)]
    pub schema_version: SchemaVersion,
    /// Name of the instance, unless the deployment is given one. Its address is `NAME.ZONE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub name: Option<Name>,
    pub agent: Agent,
    /// Environment variables. They are no secrets: give those to the instance or the project.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Ports that the agent listens on; the first is served at its address. `[8080]` when absent, `[3000]` for
    /// `agidentity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Frontend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<Databases>,
    /// Where clients deploy it to. Only they read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<Target>,
    /// Who may reach the agent and its frontend.
    #[serde(default = "public")]
    pub access: Access,
}

fn public() -> Access {
    Access::Public
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestSchema))]
pub enum Schema {
    #[serde(rename = "mandala-agent")]
    MandalaAgent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestSchemaVersion))]
pub enum SchemaVersion {
    #[default]
    #[serde(rename = "1.0")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestAgent))]
pub struct Agent {
    #[serde(default, rename = "type")]
    pub kind: AgentKind,
    /// A finished image: nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// A Dockerfile in the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<RelativePath>,
    /// The folder of the artifact that is built.
    #[serde(default)]
    pub build_context: RelativePath,
    /// What a Dockerfile is written for when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The command that is run, as a list of words; `node index.js` or `python main.py` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestAgentType))]
pub enum AgentKind {
    Openclaw,
    Agidentity,
    #[default]
    Custom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestRuntime))]
pub enum Runtime {
    Node,
    Python,
    /// By `agent.dockerfile` or `agent.image`.
    Docker,
}

/// Quantities as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestResources))]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// How many GPUs, as in `"1"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpus>,
}

/// A whole number of GPUs, as text or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "1"))]
pub struct Gpus(pub u32);

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(d)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        match number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 64) {
            Some(number) => Ok(Self(number)),
            None => Err(serde::de::Error::custom("must be a whole number of GPUs from 0 to 64, as in \"1\"")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestHealthCheck))]
pub struct HealthCheck {
    #[serde(default = "HealthCheck::default_path")]
    pub path: String,
    /// One of `ports`; the first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default = "HealthCheck::default_interval")]
    pub interval_seconds: u32,
    /// How long a start may take before it counts as failed, and a release is taken back.
    #[serde(default = "HealthCheck::default_startup")]
    pub startup_seconds: u32,
}

impl HealthCheck {
    fn default_path() -> String {
        "/".to_owned()
    }
    const fn default_interval() -> u32 {
        30
    }
    const fn default_startup() -> u32 {
        60
    }
}

/// A folder of files, served at `frontend-NAME.ZONE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestFrontend))]
pub struct Frontend {
    /// `frontend` when neither this nor `image` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<RelativePath>,
    /// A finished image that listens on port 80, instead of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestStorage))]
pub struct Storage {
    #[serde(default)]
    pub enabled: bool,
    /// What it may come to hold.
    #[serde(default = "Storage::default_size")]
    pub size: Bytes,
    #[serde(default = "Storage::default_mount")]
    pub mount_path: String,
}

impl Storage {
    fn default_size() -> Bytes {
        Bytes::mebi(10 * 1024)
    }
    fn default_mount() -> String {
        "/data".to_owned()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestDatabases))]
pub struct Databases {
    #[serde(default)]
    pub mysql: bool,
    #[serde(default)]
    pub mongo: bool,
    #[serde(default)]
    pub redis: bool,
    #[serde(default)]
    pub postgres: bool,
}

/// An entry of `deployments`, as the Mandala and CARS command lines write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestDeployment))]
pub struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub provider: String,
    #[serde(default, rename = "projectID", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(default, rename = "MandalaCloudURL", skip_serializing_if = "Option::is_none")]
    pub mandala_url: Option<String>,
    #[serde(default, rename = "CARSCloudURL", skip_serializing_if = "Option::is_none")]
    pub cars_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ManifestNetwork))]
pub enum Network {
    Mainnet,
    Testnet,
}
