//! `/v1/projects/{project}/members`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::project::{Member, PutMember};

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Body;

fn view(member: ryokan_store::projects::Member) -> Member {
    Member {
        user: member.user,
        login: member.login,
        name: member.name,
        role: member.role,
        added_at: member.added_at.0,
    }
}

/// A project's members by login.
#[utoipa::path(get, path = "/v1/projects/{project}/members", tag = "projects", params(("project", description = "Id or name")), responses((status = 200, body = Page<Member>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Page<Member>>> {
    let items = context.app.list_members(&caller, &project).await?.into_iter().map(view).collect();
    Ok(Json(Page { items, next: None }))
}

/// Adds a member, or gives it another role. Needs the role `admin`; only owners make and unmake owners.
#[utoipa::path(put, path = "/v1/projects/{project}/members/{user}", tag = "projects", params(("project", description = "Id or name"), ("user", description = "Id or login")), request_body = PutMember, responses((status = 200, body = Member)))]
pub(crate) async fn put(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, user)): Path<(String, String)>,
    Body(request): Body<PutMember>,
) -> ApiResult<Json<Member>> {
    Ok(Json(view(context.app.put_member(&caller, &project, &user, request.role).await?)))
}

/// Takes a member out. Every member may take itself out (`me`), but the last owner stays.
#[utoipa::path(delete, path = "/v1/projects/{project}/members/{user}", tag = "projects", params(("project", description = "Id or name"), ("user", description = "Id or login, or `me`")), responses((status = 204, description = "Gone")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((project, user)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.delete_member(&caller, &project, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
