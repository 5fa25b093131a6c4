//! `/v1/projects`, and their registries' credentials.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::project::{CreateProject, Project, PutRegistry, Registry, UpdateProject};
use ryokan_model::Secret;
use ryokan_model::permission::Scope;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader};

fn view(project: ryokan_store::users::Project) -> Project {
    Project {
        id: project.id,
        name: project.name,
        owner: project.owner_login,
        personal: project.personal,
        created_at: project.created_at.0,
    }
}

/// Makes a project that the caller owns.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", params(IdempotencyHeader), request_body = CreateProject, responses((status = 201, body = Project)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateProject>,
) -> ApiResult<(StatusCode, Json<Project>)> {
    let project = context.app.create_project(&caller, request.name, key).await?;
    Ok((StatusCode::CREATED, Json(view(project))))
}

/// Lists the caller's projects by name.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", responses((status = 200, body = Page<Project>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<Project>>> {
    let items = context.app.list_projects(&caller).await?.into_iter().map(view).collect();
    Ok(Json(Page { items, next: None }))
}

/// One project.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Project)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Project>> {
    Ok(Json(view(context.app.find_project(&caller, Scope::Read, &project).await?)))
}

/// Renames a project.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name")), request_body = UpdateProject, responses((status = 200, body = Project)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<UpdateProject>,
) -> ApiResult<Json<Project>> {
    Ok(Json(view(context.app.rename_project(&caller, &project, request.name).await?)))
}

/// Deletes a project without instances.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_project(&caller, &project).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Registries that the project has credentials for; passwords are never shown.
#[utoipa::path(get, path = "/v1/projects/{project}/registries", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Page<Registry>)))]
pub(crate) async fn list_registries(
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
pub(crate) async fn put_registry(
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
pub(crate) async fn delete_registry(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, host)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_registry(&caller, &project, &host).await?;
    Ok(StatusCode::NO_CONTENT)
}
