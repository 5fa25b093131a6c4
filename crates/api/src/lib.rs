//! The wire types of the HTTP API, shared by the server and every client of ours. `docs/api.md` of the design lists
//! the routes; the checked-in `openapi.json` is made from these types.
//!
//! Requests refuse unknown fields. Times are UTC milliseconds. Ids and names are accepted alike wherever a path or a
//! field says "id or name". Lists page by cursor: pass the answer's `next` as `after`.

pub mod approval;
pub mod audit;
pub mod credential;
pub mod deployment;
pub mod domain;
pub mod event;
pub mod group;
pub mod instance;
pub mod key;
pub mod ledger;
pub mod models;
pub mod policy;
pub mod problem;
pub mod project;
pub mod session;
pub mod system;
pub mod template;
pub mod token;
pub mod user;

#[cfg(feature = "client")]
pub mod client;

pub use problem::Problem;
/// What the wire types are made of, for clients that need no other crate of ours.
pub use ryokan_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
