//! Domains of one's own, as those clients ask for them.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_app::{App, Error};
use ryokan_model::permission::{Caller, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, Old, Workloads};
use crate::http::Context;

#[derive(Deserialize)]
pub(super) struct Domain {
    domain: String,
}

pub(super) async fn add(
    State(context): State<Context>,
    Known(caller): Known,
    Path((id, workload)): Path<(String, String)>,
    Old(request): Old<Domain>,
) -> MandalaResult<Json<Value>> {
    let project = context.app.find_project(&caller, Scope::Write, &id).await?;
    let found = Workloads::of(&context.app, &caller, &project).await?;
    found.named(&workload).ok_or_else(|| Error::not_found("workload", workload.clone()))?;
    Err(Error::NotImplemented(format!("domains of one's own come later: {} was not added", request.domain))
        .into())
}

/// The domains of both workloads.
#[expect(clippy::unused_async, reason = "domains are rows")]
pub(super) async fn of(_: &App, _: &Caller, _: &Workloads) -> MandalaResult<Value> {
    Ok(json!({"agent": null, "backend": null, "frontend": null}))
}
