//! `/v1/projects/{p}/deployments`, `/v1/deployments`, the signed upload, and what is written down of manifests.

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use ryokan_api::deployment::{
    CreateDeployment, Deployment, DeploymentLine, DeploymentLogQuery, Revision, Rollback, Upload, Uploaded,
};
use ryokan_api::{Page, Paging};
use ryokan_app::deployments::create::DeploymentRequest;
use ryokan_app::instances::follow::Goal;
use ryokan_model::permission::Scope;
use ryokan_model::{DeploymentId, Name};
use ryokan_store::deployments::{DEPLOYMENTS, Deployment as Row};

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::instances::{host_url, manage};
use super::router::limit;
use super::stream::{event, sse, wants_stream};
use crate::ports::until_stop;

fn view(context: &Context, row: Row) -> Deployment {
    Deployment {
        agent_url: row.name.as_deref().map(|name| host_url(context, name)),
        id: row.id,
        project: row.project_name,
        name: row.name,
        state: row.state,
        message: row.message,
        size: row.size,
        sha256: row.sha256,
        created_at: row.created_at.0,
        updated_at: row.updated_at.0,
        upload: None,
    }
}

/// Promises an upload: the answer has the address for the artifact.
#[utoipa::path(post, path = "/v1/projects/{project}/deployments", tag = "deployments", params(("project", description = "Id or name"), IdempotencyHeader), request_body = CreateDeployment, responses((status = 201, body = Deployment)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateDeployment>,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let request = DeploymentRequest { name: request.name, sha256: request.sha256, size: request.size };
    let (row, url) = context.app.create_deployment(&caller, &project, request, key).await?;
    let upload = Upload { url, expires_at: row.upload_until.0, max_size: row.max_size };
    Ok((StatusCode::CREATED, Json(Deployment { upload: Some(upload), ..view(&context, row) })))
}

/// A project's deployments, the newest first.
#[utoipa::path(get, path = "/v1/projects/{project}/deployments", tag = "deployments", params(("project", description = "Id or name"), Paging), responses((status = 200, body = Page<Deployment>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(query): Query<Paging>,
) -> ApiResult<Json<Page<Deployment>>> {
    let limit = limit(query.limit)?;
    let page = context.app.list_deployments(&caller, &project, query.after, limit).await?;
    let items = page.items.into_iter().map(|row| view(&context, row)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// One deployment.
#[utoipa::path(get, path = "/v1/deployments/{deployment}", tag = "deployments", params(("deployment", description = "Id")), responses((status = 200, body = Deployment)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> ApiResult<Json<Deployment>> {
    Ok(Json(view(&context, context.app.find_deployment(&caller, Scope::Read, &id).await?)))
}

/// Ends a deployment that is not over. What it has released already stays.
#[utoipa::path(post, path = "/v1/deployments/{deployment}/cancel", tag = "deployments", params(("deployment", description = "Id")), responses((status = 202, body = Deployment)))]
pub(crate) async fn cancel(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let row = context.app.cancel_deployment(&caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&context, row))))
}

/// What it says, as NDJSON or SSE. A stream ends with the event `end`, which has the deployment.
#[utoipa::path(get, path = "/v1/deployments/{deployment}/logs", tag = "deployments", params(("deployment", description = "Id"), DeploymentLogQuery),
    responses((status = 200, description = "NDJSON of lines, or SSE", body = DeploymentLine, content_type = "application/x-ndjson")))]
pub(crate) async fn logs(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<DeploymentLogQuery>,
) -> ApiResult<Response> {
    let row = context.app.find_deployment(&caller, Scope::Read, &id).await?;
    let items = until_stop(follow(context.clone(), row.id, query), context.stop.clone());
    if wants_stream(&headers) {
        return Ok(sse(items.map(move |item| match item {
            Item::Line(line) => event("log", &line),
            Item::End(row) => event("end", &view(&context, *row)),
        })));
    }
    let bytes = items.filter_map(|item| {
        let Item::Line(line) = item else { return std::future::ready(None) };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        std::future::ready(Some(Ok::<_, std::convert::Infallible>(Bytes::from(text))))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], RawBody::from_stream(bytes)).into_response())
}

enum Item {
    Line(DeploymentLine),
    End(Box<Row>),
}

/// Lines as they come, until it is over when they are followed.
fn follow(context: Context, id: DeploymentId, query: DeploymentLogQuery) -> impl Stream<Item = Item> + Send {
    let changes = context.app.store.subscribe();
    let state = (context, changes, query.after, false);
    futures_util::stream::unfold(state, move |(context, mut changes, mut after, ended)| async move {
        if ended {
            return None;
        }
        loop {
            if let Ok((row, lines)) = context.app.deployment_lines(id, after).await {
                let row = row?;
                if let Some(last) = lines.last() {
                    after = last.number;
                    let items: Vec<Item> = lines
                        .into_iter()
                        .map(|l| Item::Line(DeploymentLine { number: l.number, at: l.at.0, text: l.text }))
                        .collect();
                    return Some((items, (context, changes, after, false)));
                }
                if row.state.is_over() || !query.follow {
                    return Some((vec![Item::End(Box::new(row))], (context, changes, after, true)));
                }
            }
            tokio::select! {
                more = changes.wait_for(DEPLOYMENTS) => if !more { return None },
                () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
            }
        }
    })
    .flat_map(futures_util::stream::iter)
}

/// Takes an artifact. The address is the credential; nothing else is asked for.
#[utoipa::path(post, path = "/api/v1/upload/{deployment}/{signature}", tag = "deployments", security(()),
    params(("deployment", description = "Id"), ("signature", description = "As the address has it")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A gzipped tar"),
    responses((status = 202, body = Uploaded)))]
pub(crate) async fn upload(
    State(context): State<Context>,
    Path((id, signature)): Path<(String, String)>,
    headers: HeaderMap,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<Uploaded>)> {
    let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let row = context.app.check_upload(&id, &signature, size).await?;
    let content = body.into_data_stream().map(|chunk| chunk.map_err(|e| e.to_string()));
    let row = context.app.receive_artifact(row, Box::pin(content)).await?;
    let host = |name: &str| {
        let url = context.app.settings.agent_origin(name);
        url.split_once("://").map_or(url.clone(), |(_, host)| host.to_owned())
    };
    let name: Option<Name> = row.name.as_deref().and_then(|name| name.parse().ok());
    let answer = Uploaded {
        message: "The artifact is here; it is being built and released.".into(),
        agent_url: name.as_ref().map(|name| host(name.as_str())).unwrap_or_default(),
        frontend_url: name.as_ref().map(|name| host(name.frontend().as_str())),
        deployment_id: row.id,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// What was asked of an instance, the newest first.
#[utoipa::path(get, path = "/v1/instances/{instance}/revisions", tag = "instances", params(("instance", description = "Id or name")), responses((status = 200, body = Page<Revision>)))]
pub(crate) async fn revisions(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<Page<Revision>>> {
    let revisions = context.app.list_revisions(&caller, &name).await?;
    let items = revisions.into_iter().map(|r| Revision {
        number: r.number,
        state: r.state,
        reason: r.reason,
        image: r.spec.image,
        image_id: r.image_id,
        image_digest: r.image_digest,
        deployment: r.deployment,
        manifest: r.manifest,
        created_at: r.created_at.0,
    });
    Ok(Json(Page { items: items.collect(), next: None }))
}

/// Makes an earlier revision the present one, as a new revision. Secrets keep the values that they have.
#[utoipa::path(post, path = "/v1/instances/{instance}/rollback", tag = "instances", params(("instance", description = "Id or name")), request_body = Rollback, responses((status = 202, body = ryokan_api::instance::Instance)))]
pub(crate) async fn rollback(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Body(request): Body<Rollback>,
) -> ApiResult<Response> {
    let row = context.app.rollback_instance(&caller, &name, request.revision).await?;
    Ok(manage::accepted(&context, &headers, row, Goal::Ready))
}

/// The JSON Schema of `agent-manifest.json`.
#[utoipa::path(get, path = "/v1/schemas/agent-manifest.json", tag = "deployments", security(()), responses((status = 200, description = "JSON Schema")))]
pub(crate) async fn schema() -> Response {
    let text = super::openapi::manifest_schema().to_string();
    ([(header::CONTENT_TYPE, "application/schema+json")], text).into_response()
}
