//! How the gateway treats requests to an instance: who may reach it, and what the agent is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::field::header_name;
use super::yes;
use crate::Invalid;

/// How the gateway treats requests to the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayPolicy {
    #[serde(default)]
    pub access: Access,
    #[serde(default)]
    pub upstream_auth: UpstreamAuth,
    #[serde(default)]
    pub origin: OriginPolicy,
    #[serde(default = "yes")]
    pub websocket: bool,
}

impl Default for GatewayPolicy {
    fn default() -> Self {
        Self {
            access: Access::default(),
            upstream_auth: UpstreamAuth::default(),
            origin: OriginPolicy::default(),
            websocket: true,
        }
    }
}

impl GatewayPolicy {
    /// `secrets` are the names of the instance's secret variables.
    pub(super) fn validate(&self, secrets: &BTreeSet<String>) -> Result<(), Invalid> {
        let secret = |name: &String| {
            if secrets.contains(name) {
                Ok(())
            } else {
                Err(Invalid::new(
                    "gateway.upstream_auth.secret",
                    format!("`{name}` is not one of the instance's secret variables"),
                ))
            }
        };
        match &self.upstream_auth {
            UpstreamAuth::Bearer { secret: s }
            | UpstreamAuth::Basic { secret: s, .. }
            | UpstreamAuth::Query { secret: s, .. } => secret(s)?,
            UpstreamAuth::TrustedProxy { user_header, headers } => {
                header_name("gateway.upstream_auth.user_header", user_header)?;
                for name in headers.keys() {
                    header_name("gateway.upstream_auth.headers", name)?;
                }
            }
            UpstreamAuth::SignedJwt { header, .. } => {
                header_name("gateway.upstream_auth.header", header)?;
                return Err(Invalid::new(
                    "gateway.upstream_auth.mode",
                    "`signed_jwt` is not available yet; use `trusted_proxy`",
                ));
            }
            UpstreamAuth::None | UpstreamAuth::TokenInFrame => {}
        }
        if let OriginPolicy::Set(origin) = &self.origin
            && !(origin.starts_with("http://") || origin.starts_with("https://"))
        {
            return Err(Invalid::new("gateway.origin", "must be an origin, as in \"https://example.com\""));
        }
        Ok(())
    }
}

/// Who may reach the agent through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever presents a token that may read the instance.
    Token,
    /// Its owner and the project's members, signed in or with a token.
    #[default]
    Private,
}

/// How the gateway shows itself to the agent. `secret` names one of the instance's secret variables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum UpstreamAuth {
    #[default]
    None,
    Bearer {
        secret: String,
    },
    Basic {
        user: String,
        secret: String,
    },
    Query {
        parameter: String,
        secret: String,
    },
    /// The agent trusts the proxy to name the user in `user_header`.
    TrustedProxy {
        user_header: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// The client itself sends the token inside its first WebSocket frame; the gateway does nothing.
    TokenInFrame,
    /// A signed token for each user in `header`.
    SignedJwt {
        header: String,
        audience: String,
    },
}

/// What becomes of the browser's `Origin` on the way to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OriginPolicy {
    #[default]
    Keep,
    /// `http://127.0.0.1:PORT` of the agent.
    Loopback,
    Set(String),
    Remove,
}
