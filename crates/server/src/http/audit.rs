//! `/v1/audit`: pages for people, and everything as a stream.

use std::io;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ryokan_api::Page;
use ryokan_api::audit::{AuditEnd, AuditEntry, AuditQuery};
use ryokan_app::Error;
use ryokan_app::audit::{AuditFilter, AuditRow};
use ryokan_model::Millis;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::Query;
use super::router::limit;
use crate::ports::until_stop;

/// Rows of an export that are in memory at once.
const STEP: u32 = 500;

fn view(row: AuditRow) -> AuditEntry {
    AuditEntry {
        id: row.id,
        at: row.at.0,
        actor: row.actor,
        project: row.project,
        instance: row.instance,
        task: row.task,
        action: row.action,
        resource: row.resource,
        decision: row.decision,
        rule: row.rule,
        level: row.level,
        why: row.why,
        credential: row.credential,
        request_id: row.request_id,
        address: row.address,
        ended: row.ended.map(|ended| AuditEnd {
            status: ended.status,
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            millis: ended.millis,
        }),
    }
}

fn wanted(query: &AuditQuery) -> ryokan_app::audit::AuditQuery {
    ryokan_app::audit::AuditQuery {
        project: query.project.clone(),
        instance: query.instance.clone(),
        user: query.user.clone(),
        action: query.action.clone(),
        decision: query.decision,
        resource: query.resource.clone(),
        since: query.since.map(Millis),
        until: query.until.map(Millis),
    }
}

/// What was decided, the newest first: for operators everything, for admins what happened in their projects.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = Page<AuditEntry>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<Page<AuditEntry>>> {
    let filter = context.app.audit_filter(&caller, wanted(&query)).await?;
    let page = context.app.list_audit(filter, query.after, limit(query.limit)?).await?;
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

/// All that match, the newest first, one JSON document a line. An answer that is cut off ends without the end of its body.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", params(AuditQuery), responses((status = 200, description = "NDJSON", body = AuditEntry, content_type = "application/x-ndjson")))]
pub(crate) async fn export(
    State(context): State<Context>,
    Auth(caller): Auth,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Response> {
    if query.limit.is_some() || query.after.is_some() {
        return Err(Error::invalid("limit", "an export has no pages; leave `limit` and `after` out").into());
    }
    let filter = context.app.audit_filter(&caller, wanted(&query)).await?;
    let stop = context.stop.clone();
    let bytes = until_stop(lines(context, filter), stop);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bytes)).into_response())
}

fn lines(
    context: Context,
    filter: AuditFilter,
) -> impl futures_util::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let pages = stream::try_unfold(Some(None::<String>), move |after| {
        let (context, filter) = (context.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = context.app.list_audit(filter, after, STEP).await.map_err(|error| {
                super::error::log(&error);
                io::Error::other("the audit could not be read to its end")
            })?;
            let mut text = Vec::new();
            for row in page.items {
                serde_json::to_writer(&mut text, &view(row))?;
                text.push(b'\n');
            }
            Ok(Some((Bytes::from(text), page.next.map(Some))))
        }
    });
    pages.try_filter(|bytes| std::future::ready(!bytes.is_empty())).into_stream().boxed()
}
