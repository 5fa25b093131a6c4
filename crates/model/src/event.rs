//! What happened: the entries of the one append-only log behind streams, audit and, later, webhooks.

use serde::{Deserialize, Serialize};

/// How an attempted action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// A caller's request was carried out or accepted.
    Allowed,
    /// A caller was refused.
    Denied,
    /// The server did it by itself.
    Done,
    /// The server tried and could not.
    Failed,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
