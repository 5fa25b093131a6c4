//! Templates are data: what an agent's image, ports, probes, files and secrets look like, so that no agent needs code
//! of ours. TOML in the repository, rows in the store, JSON in the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::Span;
use crate::spec::{InstanceSpec, env_name};
use crate::{Invalid, Name};

/// A recipe for instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Template {
    pub name: Name,
    /// One line for lists.
    pub summary: String,
    #[serde(default)]
    pub description: String,
    /// Whether a request may, must or must not bring an image of its own.
    #[serde(default)]
    pub image: ImageChoice,
    /// What an instance gets unless its request says otherwise.
    pub spec: InstanceSpec,
    /// Variables that a user may or must give.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Variable>,
    #[serde(default)]
    pub backup: BackupHooks,
    #[serde(default)]
    pub idle: IdlePolicy,
    /// Speaks A2A on its gateway port.
    #[serde(default)]
    pub a2a: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ImageChoice {
    /// The template's; another may be named.
    #[default]
    Optional,
    Required,
    Fixed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Variable {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub required: bool,
    /// Its value is sealed and never shown again.
    #[serde(default)]
    pub secret: bool,
    /// Made by the server when absent: a random token.
    #[serde(default)]
    pub generate: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// Run before and after a copy of the volumes is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BackupHooks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<String>>,
}

/// When an idle instance may be put to sleep, and what wakes it besides a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdlePolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep_after: Option<Span>,
    /// The agent has a heartbeat of its own; it is woken this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_every: Option<Span>,
}

impl Template {
    /// Checks the template and the spec inside it.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.summary.is_empty() || self.summary.len() > 200 {
            return Err(Invalid::new("summary", "must have 1 to 200 characters"));
        }
        for (name, variable) in &self.variables {
            env_name("variables", name)?;
            if variable.secret && variable.default.is_some() {
                return Err(Invalid::new(
                    format!("variables.{name}.default"),
                    "a secret has no default; let it be generated or required",
                ));
            }
            if self.spec.env.contains_key(name) {
                return Err(Invalid::new(
                    format!("variables.{name}"),
                    "is fixed in spec.env as well; give it once",
                ));
            }
        }
        // A spec's secrets are declared as variables, so they count as present.
        let mut spec = self.spec.clone();
        spec.secret_env.extend(self.variables.iter().filter(|(_, v)| v.secret).map(|(n, _)| n.clone()));
        spec.validate().map_err(|e| e.under("spec"))
    }
}
