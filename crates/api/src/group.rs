//! Groups of accounts.

use ryokan_model::GroupId;
use ryokan_model::permission::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
    /// Logins, sorted.
    pub members: Vec<String>,
    pub created_at: i64,
}

/// `POST /v1/groups`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    pub name: String,
}

/// A group that has a role in a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProjectGroup {
    pub group: GroupId,
    pub name: String,
    pub role: Role,
}

/// `PUT /v1/projects/{project}/groups/{group}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutProjectGroup {
    /// `viewer`, `developer` or `admin`.
    pub role: Role,
}
