//! `/v1/projects`, and what belongs to each.

pub(crate) mod env;
pub(crate) mod members;
pub(crate) mod quotas;
pub(crate) mod registries;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::project::{CreateProject, DeleteProject, Project, UpdateProject};
use ryokan_app::projects::{NewProject, ProjectChanges};
use ryokan_model::permission::{Caller, Role, Scope};

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};

fn view(caller: &Caller, project: ryokan_store::projects::Project) -> Project {
    Project {
        // Whoever made it a moment ago is its owner, though the snapshot may not say so yet.
        role: caller.role_in(project.id).unwrap_or(Role::Owner),
        network: project.network,
        requires_blockchain_funding: project.funding,
        agent_public_key: project.agent_key,
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
    let project = context
        .app
        .create_project(
            &caller,
            NewProject { name: request.name, network: request.network, funding: false, agent_key: None },
            key,
        )
        .await?;
    Ok((StatusCode::CREATED, Json(view(&caller, project))))
}

/// Lists the caller's projects by name.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", responses((status = 200, body = Page<Project>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<Project>>> {
    let projects = context.app.list_projects(&caller).await?;
    let items = projects.into_iter().map(|project| view(&caller, project)).collect();
    Ok(Json(Page { items, next: None }))
}

/// One project.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Project)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Project>> {
    let project = context.app.find_project(&caller, Scope::Read, &project).await?;
    Ok(Json(view(&caller, project)))
}

/// Renames a project, or changes its settings. Needs the role `admin`.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name")), request_body = UpdateProject, responses((status = 200, body = Project)))]
pub(crate) async fn update(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<UpdateProject>,
) -> ApiResult<Json<Project>> {
    let changes = ProjectChanges { name: request.name, funding: request.requires_blockchain_funding };
    let project = context.app.update_project(&caller, &project, changes).await?;
    Ok(Json(view(&caller, project)))
}

/// Deletes a project. Its ledger and its events stay. Needs the role `owner`.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "projects", params(("project", description = "Id or name"), DeleteProject), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(options): Query<DeleteProject>,
) -> ApiResult<StatusCode> {
    context.app.delete_project(&caller, &project, options.cascade).await?;
    Ok(StatusCode::NO_CONTENT)
}
