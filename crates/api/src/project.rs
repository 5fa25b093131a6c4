//! Projects: what owns instances. Each user has a personal one.

use ryokan_model::{Name, ProjectId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub id: ProjectId,
    pub name: Name,
    /// Login of its owner.
    pub owner: String,
    /// The owner's default, which cannot be deleted.
    pub personal: bool,
    pub created_at: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    pub name: Name,
}

/// `PATCH /v1/projects/{p}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    pub name: Name,
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
