//! Signing in, for browsers. Programs use tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/sessions`: a login and password, or the token of a one-time link. Sets the session cookie.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// From the one-time link that the server prints at its first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub user: crate::user::User,
    pub expires_at: i64,
}
