//! Credentials that agents use and never see. No answer holds a value.

use ryokan_model::credential::{Binding, Kind};
use ryokan_model::policy::PathPattern;
use ryokan_model::{CredentialId, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/credentials`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCredential {
    pub name: Name,
    /// Id or name; your own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// For all projects of the installation, of no one in particular; operators only.
    #[serde(default)]
    pub system: bool,
    pub kind: Kind,
    /// The only hosts that it is ever sent to, as in `api.github.com`, `*.example.com`, `host:8443`.
    #[schema(value_type = Vec<String>, example = json!(["api.github.com", "*.example.com", "host.example:8443"]))]
    pub hosts: Vec<Binding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Name>,
    /// The variable by which instances are given its placeholder, from their next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Sealed, and shown to nobody.
    pub value: String,
}

/// `PATCH /v1/credentials/{credential}`. What is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCredential {
    /// Rotates it: from the next request on this one is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `false` cuts what is under way with it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Needs `value`, as do further hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub hosts: Option<Vec<Binding>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathPattern>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<Name>>,
    /// Empty takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    pub id: CredentialId,
    pub name: Name,
    /// Name of its project; absent for one of the whole installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    pub kind: Kind,
    #[schema(value_type = Vec<String>, example = json!(["api.github.com", "*.example.com", "host.example:8443"]))]
    pub hosts: Vec<Binding>,
    pub methods: Vec<String>,
    pub paths: Vec<PathPattern>,
    pub instances: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What agents hold in its place. No secret.
    pub placeholder: String,
    pub enabled: bool,
    pub created_at: i64,
    /// When its value was last set.
    pub rotated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}
