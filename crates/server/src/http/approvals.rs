//! `/v1/approvals`.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_api::Page;
use ryokan_api::approval::{Approval, ApprovalQuery, ApprovalState, Grant};
use ryokan_store::approvals as store;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Query};
use super::router::limit;

fn view(row: store::Approval) -> Approval {
    Approval {
        id: row.id,
        state: match row.state {
            store::ApprovalState::Open => ApprovalState::Open,
            store::ApprovalState::Granted => ApprovalState::Granted,
            store::ApprovalState::Refused => ApprovalState::Refused,
            store::ApprovalState::Expired => ApprovalState::Expired,
        },
        level: row.level,
        actor: row.actor,
        project: row.project,
        instance: row.instance,
        action: row.action,
        resource: row.resource,
        untrusted_reason: row.reason,
        times: row.times,
        asked_at: row.asked_at.0,
        expires_at: row.expires_at.0,
        decided_by: row.decided_by,
        decided_at: row.decided_at.map(|at| at.0),
        until: row.until.map(|at| at.0),
        rule: row.rule,
    }
}

/// What agents ask, the newest first: in the caller's projects; for operators all.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", params(ApprovalQuery), responses((status = 200, body = Page<Approval>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<ApprovalQuery>,
) -> ApiResult<Json<Page<Approval>>> {
    let state = query.state.map(|state| match state {
        ApprovalState::Open => store::ApprovalState::Open,
        ApprovalState::Granted => store::ApprovalState::Granted,
        ApprovalState::Refused => store::ApprovalState::Refused,
        ApprovalState::Expired => store::ApprovalState::Expired,
    });
    let most = limit(query.limit)?;
    let page =
        context.app.list_approvals(&caller, query.project.as_deref(), state, query.after, most).await?;
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

/// One question, with its answer once there is one.
#[utoipa::path(get, path = "/v1/approvals/{approval}", tag = "approvals", params(("approval", description = "Id")), responses((status = 200, body = Approval)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(approval): Path<String>,
) -> ApiResult<Json<Approval>> {
    Ok(Json(view(context.app.get_approval(&caller, &approval).await?)))
}

/// Allows what was asked, for a time. In force when this answers. Whoever comes second is told who was first.
#[utoipa::path(post, path = "/v1/approvals/{approval}/grant", tag = "approvals", params(("approval", description = "Id")), request_body = Grant, responses((status = 200, body = Approval)))]
pub(crate) async fn grant(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(approval): Path<String>,
    Body(request): Body<Grant>,
) -> ApiResult<Json<Approval>> {
    let span = request.span.map(|span| span.duration());
    Ok(Json(view(context.app.grant_approval(&caller, &approval, span).await?)))
}

/// Refuses what was asked; the same is not asked again for an hour.
#[utoipa::path(post, path = "/v1/approvals/{approval}/refuse", tag = "approvals", params(("approval", description = "Id")), responses((status = 200, body = Approval)))]
pub(crate) async fn refuse(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(approval): Path<String>,
) -> ApiResult<Json<Approval>> {
    Ok(Json(view(context.app.refuse_approval(&caller, &approval).await?)))
}
