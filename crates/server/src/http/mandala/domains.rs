//! Domains of one's own, as those clients ask for them: added and checked in one call, which says what to set until the
//! record is there.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
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
) -> MandalaResult<Response> {
    let app = &context.app;
    let (_, found) = Workloads::find(app, &caller, Scope::Write, &id).await?;
    if !["agent", "backend", "frontend"].contains(&workload.as_str()) {
        return Err(Error::not_found("workload", workload).into());
    }
    let row = found
        .named(&workload)
        .ok_or_else(|| Error::Conflict(format!("the project has no {workload} yet; deploy first")))?;
    let instance = row.id.to_string();
    let known = app.list_domains(&caller, &instance).await?;
    if !known
        .iter()
        .any(|domain| domain.domain.as_str().eq_ignore_ascii_case(request.domain.trim_end_matches('.')))
    {
        app.add_domain(&caller, &instance, &request.domain).await?;
    }
    let checked = app.check_domain(&caller, &instance, &request.domain).await?;
    if checked.standing.state.holds() {
        let body = json!({"message": "The domain is verified and served", "domain": checked.domain});
        return Ok(Json(body).into_response());
    }
    let records = app.domain_records(&checked);
    let set: Vec<String> = records
        .proofs
        .iter()
        .filter_map(|proof| Some(format!("TXT {} = {}", proof.name, proof.values.first()?)))
        .collect();
    let instructions = format!(
        "Set one of these records, and a CNAME to {}; then ask again (it is looked for by itself, too): {}",
        records.target,
        set.join(" or ")
    );
    let body = json!({"status": "error", "code": "domain_unverified", "domain": checked.domain,
        "error": "The domain's TXT record was not found", "instructions": instructions});
    Ok((StatusCode::BAD_REQUEST, Json(body)).into_response())
}

/// The verified domain of each workload, if it has one.
pub(super) async fn of(app: &App, caller: &Caller, workloads: &Workloads) -> MandalaResult<Value> {
    let mut shown = json!({"agent": null, "backend": null, "frontend": null});
    for (workload, row) in [("agent", &workloads.agent), ("frontend", &workloads.frontend)] {
        let Some(row) = row else { continue };
        let domains = app.list_domains(caller, &row.id.to_string()).await?;
        let held = domains.into_iter().find(|domain| domain.standing.state.holds());
        shown[workload] = json!(held.map(|domain| domain.domain));
    }
    shown["backend"] = shown["agent"].clone();
    Ok(shown)
}
