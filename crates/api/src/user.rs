//! Accounts.

use ryokan_model::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: UserId,
    /// Lower-case name to sign in with; unique.
    pub login: String,
    pub name: String,
    /// May see and change everything of this installation.
    pub operator: bool,
    pub has_password: bool,
    pub disabled: bool,
    /// As a certifier has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The personal project that instances go to when none is named.
    pub default_project: String,
    pub created_at: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 1 to 40 lower-case letters, digits, `-`, `_`, `.`.
    pub login: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At least 10 characters. Without one the user signs in with a token or a one-time link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default)]
    pub operator: bool,
}

/// `PATCH /v1/users/{id}` and `/v1/users/me`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Needed to change one's own password when one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_password: Option<String>,
    /// Operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<bool>,
    /// Operators only. Ends the user's sessions and refuses its tokens at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `POST /v1/users/{id}/login-link` (operators): a link that signs in once, within 15 minutes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginLink {
    pub url: String,
    pub expires_at: i64,
}
