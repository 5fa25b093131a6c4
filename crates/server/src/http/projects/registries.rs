//! `/v1/projects/{project}/registries`: credentials for image pulls.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::project::{PutRegistry, Registry};
use ryokan_model::Secret;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Body;

/// Registries that the project has credentials for; passwords are never shown.
#[utoipa::path(get, path = "/v1/projects/{project}/registries", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Page<Registry>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Page<Registry>>> {
    let registries = context.app.list_registries(&caller, &project).await?;
    let items = registries.into_iter().map(|(host, username)| Registry { host, username }).collect();
    Ok(Json(Page { items, next: None }))
}

/// Sets the credentials for pulls from one registry.
#[utoipa::path(put, path = "/v1/projects/{project}/registries/{host}", tag = "projects", params(("project", description = "Id or name"), ("host", description = "With port, or `docker.io`")), request_body = PutRegistry, responses((status = 204, description = "Set")))]
pub(crate) async fn put(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, host)): Path<(String, String)>,
    Body(request): Body<PutRegistry>,
) -> ApiResult<StatusCode> {
    context
        .app
        .put_registry(&caller, &project, &host, request.username, Secret::new(request.password))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets the credentials for one registry.
#[utoipa::path(delete, path = "/v1/projects/{project}/registries/{host}", tag = "projects", params(("project", description = "Id or name"), ("host", description = "With port, or `docker.io`")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, host)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_registry(&caller, &project, &host).await?;
    Ok(StatusCode::NO_CONTENT)
}
