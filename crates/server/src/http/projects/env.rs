//! `/v1/projects/{project}/env` and `/secrets`: what all instances of a project are given.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::project::{PatchEnv, ProjectEnv, ProjectSecret, PutEnv, PutSecret};
use ryokan_model::Secret;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Body;

fn view(found: ryokan_app::projects::ProjectEnv) -> Json<ProjectEnv> {
    Json(ProjectEnv { env: found.env, secrets: found.secrets.into_iter().map(|s| s.name).collect() })
}

/// The project's variables, and the names of its secrets.
#[utoipa::path(get, path = "/v1/projects/{project}/env", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = ProjectEnv)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<ProjectEnv>> {
    Ok(view(context.app.get_project_env(&caller, &project).await?))
}

/// Sets variables, and removes those that are `null`. All instances are updated at once. Needs the role `developer`.
#[utoipa::path(patch, path = "/v1/projects/{project}/env", tag = "projects", params(("project", description = "Id or name")), request_body = PatchEnv, responses((status = 200, body = ProjectEnv)))]
pub(crate) async fn patch(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<PatchEnv>,
) -> ApiResult<Json<ProjectEnv>> {
    Ok(view(context.app.change_project_env(&caller, &project, request.env, false).await?))
}

/// Sets these variables and removes all others but secrets. All instances are updated at once. Needs the role
/// `developer`.
#[utoipa::path(put, path = "/v1/projects/{project}/env", tag = "projects", params(("project", description = "Id or name")), request_body = PutEnv, responses((status = 200, body = ProjectEnv)))]
pub(crate) async fn put(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<PutEnv>,
) -> ApiResult<Json<ProjectEnv>> {
    let env = request.env.into_iter().map(|(name, value)| (name, Some(value))).collect();
    Ok(view(context.app.change_project_env(&caller, &project, env, true).await?))
}

/// Names of the project's secrets; their values are never shown.
#[utoipa::path(get, path = "/v1/projects/{project}/secrets", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Page<ProjectSecret>)))]
pub(crate) async fn list_secrets(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Page<ProjectSecret>>> {
    let found = context.app.get_project_env(&caller, &project).await?;
    let secret =
        |s: ryokan_store::projects::Variable| ProjectSecret { name: s.name, updated_at: s.updated_at.0 };
    Ok(Json(Page { items: found.secrets.into_iter().map(secret).collect(), next: None }))
}

/// Sets a secret variable of all instances, which are updated at once. Needs the role `developer`.
#[utoipa::path(put, path = "/v1/projects/{project}/secrets/{name}", tag = "projects", params(("project", description = "Id or name"), ("name", description = "Name of the variable")), request_body = PutSecret, responses((status = 204, description = "Set")))]
pub(crate) async fn put_secret(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, name)): Path<(String, String)>,
    Body(request): Body<PutSecret>,
) -> ApiResult<StatusCode> {
    context.app.put_project_secret(&caller, &project, name, Secret::new(request.value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret variable of all instances, which are updated at once. Needs the role `developer`.
#[utoipa::path(delete, path = "/v1/projects/{project}/secrets/{name}", tag = "projects", params(("project", description = "Id or name"), ("name", description = "Name of the variable")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete_secret(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, name)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_project_secret(&caller, &project, name).await?;
    Ok(StatusCode::NO_CONTENT)
}
