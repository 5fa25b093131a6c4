//! `MandalaNode`'s routes under `/api/v1`, for its own clients: they parse, call the same use cases as everybody else, and
//! answer in the old shape. Every call but `/public` is signed by an identity key (BRC-104), or carries a token of ours.
//!
//! A project has one agent and one frontend there. Here they are the instances that its deployments make.

mod answer;
mod billing;
mod deploys;
mod domains;
mod logs;
mod members;
mod projects;
mod public;

use axum::Router;
use axum::routing::{get, post};

use super::Context;

pub(super) fn router() -> Router<Context> {
    Router::new()
        .route("/api/v1/public", get(public::public))
        .route("/api/v1/project/create", post(projects::create))
        .route("/api/v1/project/list", post(projects::list))
        .route("/api/v1/project/{id}/info", post(projects::info))
        .route("/api/v1/project/{id}/delete", post(projects::delete))
        .route("/api/v1/project/{id}/agent/config", post(projects::config))
        .route("/api/v1/project/{id}/webui/config", post(projects::config))
        .route("/api/v1/project/{id}/settings/update", post(projects::settings))
        .route("/api/v1/project/{id}/admin/restart", post(projects::restart))
        .route("/api/v1/project/{id}/admin/status", post(projects::status))
        .route("/api/v1/project/{id}/addAdmin", post(members::add))
        .route("/api/v1/project/{id}/removeAdmin", post(members::remove))
        .route("/api/v1/project/{id}/admins/list", post(members::list))
        .route("/api/v1/project/{id}/deploy", post(deploys::create))
        .route("/api/v1/project/{id}/deploys/list", post(deploys::list))
        .route("/api/v1/project/{id}/pay", post(billing::pay))
        .route("/api/v1/project/{id}/billing/stats", post(billing::stats))
        .route("/api/v1/project/{id}/logs/project", post(logs::project))
        .route("/api/v1/project/{id}/logs/deployment/{deployment}", post(logs::deployment))
        .route("/api/v1/project/{id}/logs/resource/{resource}", post(logs::resource))
        .route("/api/v1/project/{id}/domains/{workload}", post(domains::add))
}
