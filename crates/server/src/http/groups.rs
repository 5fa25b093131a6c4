//! `/v1/groups`, and the groups of a project.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::group::{CreateGroup, Group, ProjectGroup, PutProjectGroup};
use ryokan_api::{Page, Paging};
use ryokan_app::groups::GroupView;
use ryokan_model::permission::Role;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

fn view(GroupView { group, members }: GroupView) -> Group {
    Group { id: group.id, name: group.name.to_string(), members, created_at: group.created_at.0 }
}

fn in_project((group, role): (ryokan_store::groups::Group, Role)) -> ProjectGroup {
    ProjectGroup { group: group.id, name: group.name.to_string(), role }
}

/// Makes a group; operators only.
#[utoipa::path(post, path = "/v1/groups", tag = "groups", params(IdempotencyHeader), request_body = CreateGroup, responses((status = 201, body = Group)))]
pub(crate) async fn create(
    State(context): State<Context>,
    Auth(caller): Auth,
    Idempotency(key): Idempotency,
    Body(request): Body<CreateGroup>,
) -> ApiResult<(StatusCode, Json<Group>)> {
    let made = context.app.create_group(&caller, &request.name, key).await?;
    Ok((StatusCode::CREATED, Json(view(made))))
}

/// Groups by name, with who is in them; operators only.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", params(Paging), responses((status = 200, body = Page<Group>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<Group>>> {
    let page = context.app.list_groups(&caller, paging.after, limit(paging.limit)?).await?;
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

/// One group; operators only.
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "groups", params(("group", description = "Id or name")), responses((status = 200, body = Group)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(group): Path<String>,
) -> ApiResult<Json<Group>> {
    Ok(Json(view(context.app.get_group(&caller, &group).await?)))
}

/// Deletes a group and what it gave its members; operators only.
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "groups", params(("group", description = "Id or name")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(group): Path<String>,
) -> ApiResult<StatusCode> {
    context.app.delete_group(&caller, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts somebody into a group; operators only.
#[utoipa::path(put, path = "/v1/groups/{group}/members/{user}", tag = "groups", params(("group", description = "Id or name"), ("user", description = "Id or login")), responses((status = 200, body = Group)))]
pub(crate) async fn put_member(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((group, user)): Path<(String, String)>,
) -> ApiResult<Json<Group>> {
    Ok(Json(view(context.app.put_group_member(&caller, &group, &user).await?)))
}

/// Takes somebody out of a group; operators only.
#[utoipa::path(delete, path = "/v1/groups/{group}/members/{user}", tag = "groups", params(("group", description = "Id or name"), ("user", description = "Id or login")), responses((status = 204, description = "Out")))]
pub(crate) async fn delete_member(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((group, user)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_group_member(&caller, &group, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The groups that have a role in a project, by name.
#[utoipa::path(get, path = "/v1/projects/{project}/groups", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Page<ProjectGroup>)))]
pub(crate) async fn of_project(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Page<ProjectGroup>>> {
    let groups = context.app.list_project_groups(&caller, &project).await?;
    Ok(Json(Page { items: groups.into_iter().map(in_project).collect(), next: None }))
}

/// Gives all in a group a role in a project, or another one. Needs the role `admin`.
#[utoipa::path(put, path = "/v1/projects/{project}/groups/{group}", tag = "projects", params(("project", description = "Id or name"), ("group", description = "Id or name")), request_body = PutProjectGroup, responses((status = 200, body = ProjectGroup)))]
pub(crate) async fn put_in_project(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, group)): Path<(String, String)>,
    Body(request): Body<PutProjectGroup>,
) -> ApiResult<Json<ProjectGroup>> {
    let made = context.app.put_project_group(&caller, &project, &group, request.role).await?;
    Ok(Json(in_project(made)))
}

/// Takes a group's role in a project away. Needs the role `admin`.
#[utoipa::path(delete, path = "/v1/projects/{project}/groups/{group}", tag = "projects", params(("project", description = "Id or name"), ("group", description = "Id or name")), responses((status = 204, description = "Out")))]
pub(crate) async fn delete_in_project(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, group)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_project_group(&caller, &project, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}
