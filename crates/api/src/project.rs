//! Projects: what owns instances. Each user has a personal one.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use ryokan_model::permission::Role;
use ryokan_model::project::{Network, Quotas};
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{Name, ProjectId, UserId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub id: ProjectId,
    pub name: Name,
    /// Login of one of its owners.
    pub owner: String,
    /// What you are in it.
    pub role: Role,
    /// The owner's default, which cannot be deleted.
    pub personal: bool,
    /// The chain that it pays on.
    pub network: Network,
    /// Its agents are given the project's key pair, and money on the chain.
    pub requires_blockchain_funding: bool,
    /// The public part of that key pair, in hex, once there is one. The private part is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_public_key: Option<String>,
    pub created_at: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    pub name: Name,
    /// `mainnet` when absent; it can never be changed.
    #[serde(default)]
    pub network: Network,
}

/// `PATCH /v1/projects/{p}`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_blockchain_funding: Option<bool>,
}

/// `DELETE /v1/projects/{p}`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteProject {
    /// Its instances go with it, and their volumes. Without it a project that has instances is refused.
    #[serde(default)]
    pub cascade: bool,
}

/// Somebody who belongs to a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub user: UserId,
    pub login: String,
    pub name: String,
    pub role: Role,
    /// 0 for the owners of projects that are older than this record.
    pub added_at: i64,
}

/// `PUT /v1/projects/{p}/members/{user}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutMember {
    pub role: Role,
}

/// Variables that all instances of the project are given, unless they have one of the same name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ProjectEnv {
    pub env: BTreeMap<String, String>,
    /// Names of the secret ones.
    pub secrets: Vec<String>,
}

/// `PATCH /v1/projects/{p}/env`: `null` removes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchEnv {
    pub env: BTreeMap<String, Option<String>>,
}

/// `PUT /v1/projects/{p}/env`: these and no others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutEnv {
    pub env: BTreeMap<String, String>,
}

/// A secret of a project; its value is write-only.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectSecret {
    pub name: String,
    pub updated_at: i64,
}

/// `PUT /v1/projects/{p}/secrets/{name}`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    pub value: String,
}

impl std::fmt::Debug for PutSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PutSecret")
    }
}

/// The most that a project may have, and what it has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectQuotas {
    pub limits: Quotas,
    pub used: QuotaUse,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QuotaUse {
    pub instances: u32,
    /// Of instances that are wanted running.
    #[serde(deserialize_with = "cpus_used")]
    pub cpus: Cpus,
    /// Of instances that are wanted running.
    #[serde(deserialize_with = "bytes_used")]
    pub memory: Bytes,
    /// What their volumes hold, as last measured.
    #[serde(deserialize_with = "bytes_used")]
    pub disk: Bytes,
}

/// What is used may be nothing, which is no amount that anybody may ask for.
fn used<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D, nothing: T) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    if text == "0" { Ok(nothing) } else { text.parse().map_err(D::Error::custom) }
}

fn cpus_used<'de, D: Deserializer<'de>>(from: D) -> Result<Cpus, D::Error> {
    used(from, Cpus::from_millis(0))
}

fn bytes_used<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    used(from, Bytes::new(0))
}

/// `PUT /v1/projects/{p}/registries/{host}`: credentials for image pulls; the password is write-only.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRegistry {
    pub username: String,
    pub password: String,
}

/// A registry that the project has credentials for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Registry {
    /// Host with port, as in `registry.example.com:5000`; `docker.io` for Docker Hub.
    pub host: String,
    pub username: String,
}
