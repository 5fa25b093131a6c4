//! Custom domains of an instance, and the records that they need.

use ryokan_model::domain::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/instances/{instance}/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDomain {
    /// As in `agent.example.com`; letters beyond ASCII are taken as their IDNA form.
    pub domain: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// In ASCII, lower case.
    pub domain: String,
    /// Name of the instance that it leads to.
    pub instance: String,
    pub state: State,
    /// Why it is not served, or will not be for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Any one of them shows that the domain is yours.
    pub verification: Vec<DnsRecord>,
    /// Leads visitors here. Where a CNAME cannot be (the top of a zone), set A and AAAA records with the addresses of
    /// its value instead.
    pub target: DnsRecord,
    pub url: String,
    pub created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<i64>,
    /// Absent when nothing is checked any more unless somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DnsRecord {
    /// `TXT` or `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Absolute, without the dot at the end.
    pub name: String,
    pub value: String,
}
