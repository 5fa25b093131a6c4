//! The event log on the wire: `GET /v1/events`, as SSE (resumable by `Last-Event-ID`) or as a page of JSON.

use ryokan_model::event::Outcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One entry. As SSE: `id` is `seq`, `event` is `kind`, `data` is this as JSON.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    pub seq: i64,
    pub at: i64,
    /// Noun and past participle, as in `instance.created`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What it is about: `instance`, `user`, `token`, `project`, `template`, `session`, `job`, `system`.
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<String>,
    /// Login of who asked; `system` when the server acted by itself.
    pub actor: String,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The `X-Request-Id` of the request that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    pub outcome: Outcome,
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// Which end of the log a page begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// Which events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// `asc` when absent: a page without `after` begins with the oldest. `desc` begins with the newest. A stream has
    /// one order only, and refuses that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub order: Option<Order>,
    /// Events after this `seq`, in the page's order: with `desc` older ones. For a stream, absent means from now on;
    /// `0` means from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only this kind, or with a trailing `.` all that begin so (`instance.`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only of this instance (id or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Only of this project (id or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}
