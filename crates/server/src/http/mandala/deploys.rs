//! Deployments: a promise of an upload, and the list of them.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_app::deployments::create::DeploymentRequest;
use ryokan_model::permission::Scope;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, agent_name, time};
use crate::http::Context;

pub(super) async fn create(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let project = context.app.find_project(&caller, Scope::Write, &id).await?;
    let name = agent_name(&project).parse()?;
    let request = DeploymentRequest { name: Some(name), sha256: None, size: None };
    let (row, url) = context.app.create_deployment(&caller, &id, request, None).await?;
    Ok(Json(json!({"url": url, "deploymentId": row.id, "message": "Upload the artifact to the address"})))
}

pub(super) async fn list(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let rows = context.app.list_deployments(&caller, &id, None, 100).await?.items;
    let deploys: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({"deployment_uuid": row.id, "created_at": time(row.created_at), "state": row.state,
                "message": row.message})
        })
        .collect();
    Ok(Json(json!({ "deploys": deploys })))
}
