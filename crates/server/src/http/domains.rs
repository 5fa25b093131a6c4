//! `/v1/instances/{instance}/domains`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ryokan_api::Page;
use ryokan_api::domain::{AddDomain, DnsRecord, Domain};
use ryokan_app::domains::Records;
use ryokan_store::domains::Domain as Row;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::Body;

pub(crate) fn view(context: &Context, row: Row) -> Domain {
    let Records { proofs, target } = context.app.domain_records(&row);
    let record = |kind: &str, name: String, value: String| DnsRecord { kind: kind.into(), name, value };
    let txt = proofs.into_iter().filter_map(|proof| {
        let value = proof.values.into_iter().next()?;
        Some(record("TXT", proof.name, value))
    });
    Domain {
        verification: txt.collect(),
        target: record("CNAME", row.domain.to_string(), target),
        url: format!("{}/", context.app.settings.origin_of(row.domain.as_str())),
        domain: row.domain.to_string(),
        instance: row.instance_name.to_string(),
        state: row.standing.state,
        reason: row.standing.reason,
        created_at: row.created_at.0,
        last_check: row.standing.last_check.map(|at| at.0),
        next_check: row.standing.next_check.map(|at| at.0),
    }
}

/// Adds a domain. The answer has the record that shows whose it is; it is looked for at once, and for seven days.
#[utoipa::path(post, path = "/v1/instances/{instance}/domains", tag = "domains", params(("instance", description = "Id or name")), request_body = AddDomain, responses((status = 200, description = "Added, or there already", body = Domain)))]
pub(crate) async fn add(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(instance): Path<String>,
    Body(request): Body<AddDomain>,
) -> ApiResult<Json<Domain>> {
    Ok(Json(view(&context, context.app.add_domain(&caller, &instance, &request.domain).await?)))
}

/// Lists an instance's domains by name; there are never more than a page.
#[utoipa::path(get, path = "/v1/instances/{instance}/domains", tag = "domains", params(("instance", description = "Id or name")), responses((status = 200, body = Page<Domain>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(instance): Path<String>,
) -> ApiResult<Json<Page<Domain>>> {
    let rows = context.app.list_domains(&caller, &instance).await?;
    Ok(Json(Page { items: rows.into_iter().map(|row| view(&context, row)).collect(), next: None }))
}

/// One domain, with the records to set.
#[utoipa::path(get, path = "/v1/instances/{instance}/domains/{domain}", tag = "domains", params(("instance", description = "Id or name"), ("domain", description = "The domain")), responses((status = 200, body = Domain)))]
pub(crate) async fn get(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((instance, domain)): Path<(String, String)>,
) -> ApiResult<Json<Domain>> {
    Ok(Json(view(&context, context.app.get_domain(&caller, &instance, &domain).await?)))
}

/// Takes a domain away: not served any more, and free for others.
#[utoipa::path(delete, path = "/v1/instances/{instance}/domains/{domain}", tag = "domains", params(("instance", description = "Id or name"), ("domain", description = "The domain")), responses((status = 204, description = "Gone")))]
pub(crate) async fn remove(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((instance, domain)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    context.app.remove_domain(&caller, &instance, &domain).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks for the record now. What DNS says is in the answer: `state`, and `reason` when it is not what it should be.
#[utoipa::path(post, path = "/v1/instances/{instance}/domains/{domain}/check", tag = "domains", params(("instance", description = "Id or name"), ("domain", description = "The domain")), responses((status = 200, body = Domain)))]
pub(crate) async fn check(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path((instance, domain)): Path<(String, String)>,
) -> ApiResult<Json<Domain>> {
    Ok(Json(view(&context, context.app.check_domain(&caller, &instance, &domain).await?)))
}
