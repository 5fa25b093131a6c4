//! Errors on the wire: RFC 9457 problem documents with a stable `code`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `application/problem+json`. Programs look at `code`, people read `detail`, which says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`; reserved.
    #[serde(rename = "type", default = "Problem::blank")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// One of `invalid`, `unauthenticated`, `forbidden`, `not_found`, `conflict`, `quota_exceeded`,
    /// `payment_required`, `too_many_requests`, `unavailable`, `not_implemented`, `internal`.
    pub code: String,
    pub detail: String,
    /// Path of the refused field, as in `ports[0].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Quote it when you report a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds to wait before another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn blank() -> String {
        "about:blank".to_owned()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) if !field.is_empty() && !self.detail.starts_with(field.as_str()) => {
                write!(f, "{field}: {}", self.detail)
            }
            _ => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for Problem {}
