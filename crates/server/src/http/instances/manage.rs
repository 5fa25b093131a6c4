//! Creating, looking at, changing and removing instances.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ryokan_api::Page;
use ryokan_api::event::EventQuery;
use ryokan_api::instance::{DeleteQuery, Instance, InstanceQuery, InstanceRequest, PortInfo, Progress};
use ryokan_app::instances::delete::DeleteOptions;
use ryokan_app::instances::follow::Goal;
use ryokan_model::instance::Desired;
use ryokan_model::permission::Scope;
use ryokan_store::instances::Instance as Row;

use super::{host_url, url, view};
use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::{Body, Idempotency, IdempotencyHeader, Query};
use crate::http::router::limit;
use crate::http::stream::{event, progress, wants_stream};

/// Accepts an instance; with `Accept: text/event-stream` follows it until it is ready or has failed.
#[utoipa::path(post, path = "/v1/instances", tag = "instances", request_body = InstanceRequest,
    params(IdempotencyHeader),
    responses((status = 202, body = Instance)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Idempotency(key): Idempotency,
    Body(request): Body<InstanceRequest>,
) -> ApiResult<Response> {
    let row = context.app.create_instance(&caller, request, key).await?;
    if wants_stream(&headers) {
        let first = event("created", &Progress { name: row.name.to_string(), ..Progress::default() });
        return Ok(progress(&context, &row, Goal::Ready, Some(first), url));
    }
    Ok((StatusCode::ACCEPTED, Json(view(&context, row))).into_response())
}

/// Lists the caller's instances by name.
#[utoipa::path(get, path = "/v1/instances", tag = "instances", params(InstanceQuery), responses((status = 200, body = Page<Instance>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<InstanceQuery>,
) -> ApiResult<Json<Page<Instance>>> {
    let limit = limit(query.limit)?;
    let page = context
        .app
        .list_instances(&caller, query.project.as_deref(), query.state, query.after, limit)
        .await?;
    let items = page.items.into_iter().map(|row| view(&context, row)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// One instance.
#[utoipa::path(get, path = "/v1/instances/{instance}", tag = "instances", params(("instance", description = "Id or name")), responses((status = 200, body = Instance)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<Instance>> {
    let row = context.app.find_instance(&caller, Scope::Read, &name).await?;
    let addons = context.app.addons_of(&row).await?.into_iter().map(|database| database.name).collect();
    Ok(Json(Instance { addons, ..view(&context, row) }))
}

/// Changes the spec in place; volumes stay.
#[utoipa::path(patch, path = "/v1/instances/{instance}", tag = "instances", params(("instance", description = "Id or name")), request_body = InstanceRequest, responses((status = 202, body = Instance)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Body(request): Body<InstanceRequest>,
) -> ApiResult<Response> {
    let row = context.app.update_instance(&caller, &name, request).await?;
    // A stopped instance stays so; its next start takes the change.
    let goal = if row.desired == Desired::Running { Goal::Ready } else { Goal::Stopped };
    Ok(accepted(&context, &headers, row, goal))
}

/// Deletes an instance with its container and, unless told otherwise, its volumes.
#[utoipa::path(delete, path = "/v1/instances/{instance}", tag = "instances", params(("instance", description = "Id or name"), DeleteQuery), responses((status = 202, body = Instance)))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> ApiResult<Response> {
    let options = DeleteOptions { force: query.force, keep_volumes: query.keep_volumes };
    let row = context.app.delete_instance(&caller, &name, options).await?;
    Ok(accepted(&context, &headers, row, Goal::Deleted))
}

/// Stops an instance; its disk stays. Stopping a stopped one is fine.
#[utoipa::path(post, path = "/v1/instances/{instance}/stop", tag = "instances", params(("instance", description = "Id or name")), responses((status = 202, body = Instance)))]
pub(crate) async fn stop(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let row = context.app.stop_instance(&caller, &name).await?;
    Ok(accepted(&context, &headers, row, Goal::Stopped))
}

/// Starts an instance; a failed one gets a fresh set of tries. Starting a running one is fine.
#[utoipa::path(post, path = "/v1/instances/{instance}/start", tag = "instances", params(("instance", description = "Id or name")), responses((status = 202, body = Instance)))]
pub(crate) async fn start(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let row = context.app.start_instance(&caller, &name).await?;
    Ok(accepted(&context, &headers, row, Goal::Ready))
}

/// Restarts an instance in place.
#[utoipa::path(post, path = "/v1/instances/{instance}/restart", tag = "instances", params(("instance", description = "Id or name")), responses((status = 202, body = Instance)))]
pub(crate) async fn restart(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let row = context.app.restart_instance(&caller, &name).await?;
    Ok(accepted(&context, &headers, row, Goal::Ready))
}

pub(crate) fn accepted(context: &Context, headers: &HeaderMap, row: Row, goal: Goal) -> Response {
    if wants_stream(headers) {
        return progress(context, &row, goal, None, url);
    }
    (StatusCode::ACCEPTED, Json(view(context, row))).into_response()
}

/// The instance's events, as `GET /v1/events?instance=`.
#[utoipa::path(get, path = "/v1/instances/{instance}/events", tag = "instances", params(("instance", description = "Id or name"), EventQuery), responses((status = 200, body = Page<ryokan_api::event::Event>)))]
pub(crate) async fn events(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<EventQuery>,
) -> ApiResult<Response> {
    let stream = wants_stream(&headers);
    crate::http::events::answer(
        &context,
        &caller,
        stream,
        &headers,
        EventQuery { instance: Some(name), ..query },
    )
    .await
}

/// The named ports, and where the gateway serves each.
#[utoipa::path(get, path = "/v1/instances/{instance}/ports", tag = "instances", params(("instance", description = "Id or name")), responses((status = 200, body = Vec<PortInfo>)))]
pub(crate) async fn ports(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<Vec<PortInfo>>> {
    let row = context.app.find_instance(&caller, Scope::Read, &name).await?;
    let ports = row.spec.ports.iter().enumerate().map(|(i, port)| PortInfo {
        name: port.name.clone(),
        port: port.port,
        url: if i == 0 {
            url(&context, &row)
        } else {
            host_url(&context, &format!("{}--{}", port.name, row.name))
        },
    });
    Ok(Json(ports.collect()))
}
