//! `/v1/projects/{p}/ledger` and what belongs to it: money.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ryokan_api::ledger as wire;
use ryokan_api::{Page, Paging};
use ryokan_app::ledger::view::{Balance, Invoice, LeftOver, Step};
use ryokan_app::{App, Error};
use ryokan_model::{Millis, Sats, Secret};
use ryokan_store::billing::{CapUse, MICROS, Standing};
use ryokan_store::ledger::StatementLine;
use ryokan_store::usage::UsageSum;

use super::Context;
use super::auth::Auth;
use super::error::ApiResult;
use super::extract::{Body, Idempotency, IdempotencyHeader, Query};
use super::router::limit;

fn balance_view(balance: Balance, app: &App) -> wire::Balance {
    let Balance { project, balance, reserved, standing, agents, .. } = balance;
    wire::Balance {
        project,
        balance,
        reserved,
        billing: app.settings.billing.enabled,
        below_since: standing.below_since.map(|t| t.0),
        suspended_for: standing.suspended_for,
        suspended_at: standing.suspended_at.map(|t| t.0),
        suspended_until: standing.suspended_until.map(|t| t.0),
        agents: agents.map(|seen| wire::AgentFunds {
            balance: seen.balance,
            checked_at: seen.checked_at.0,
            refused: seen.refused,
        }),
    }
}

fn line(line: StatementLine) -> wire::LedgerLine {
    wire::LedgerLine {
        seq: line.seq,
        transaction: line.transaction,
        kind: line.kind,
        amount: line.amount,
        balance_after: line.balance_after,
        interval: line.interval.map(|t| t.0),
        price_version: line.price_version,
        reason: line.reason,
        actor: line.actor,
        at: line.at.0,
    }
}

fn sum(sum: UsageSum) -> wire::UsageSum {
    wire::UsageSum {
        start: sum.start.0,
        cpu_millis: sum.usage.cpu_nanos / 1_000_000,
        memory_mb_seconds: sum.usage.memory_byte_millis / 1_000_000_000,
        disk_mb_seconds: sum.usage.disk_byte_millis / 1_000_000_000,
        network_bytes: sum.usage.network_bytes,
        gpu_millis: sum.usage.gpu_millis,
        microsats: sum.microsats,
    }
}

fn price(price: ryokan_store::prices::Price) -> wire::Price {
    wire::Price {
        version: price.version,
        own: price.project.is_some(),
        from: price.from.0,
        cleared: price.cleared,
        rates: price.rates,
        reason: price.reason,
    }
}

fn caps_view(caps: Vec<CapUse>) -> Json<Page<wire::Cap>> {
    let cap = |c: CapUse| wire::Cap {
        instance: c.cap.instance.map(|id| id.to_string()),
        kind: c.cap.kind,
        period: c.cap.period,
        amount: c.cap.amount,
        spent: Sats(c.spent / MICROS),
        reserved: Sats(c.reserved / MICROS),
        reached: c.is_reached(),
    };
    Json(Page { items: caps.into_iter().map(cap).collect(), next: None })
}

fn settings_view(standing: Standing) -> Json<wire::BillingSettings> {
    Json(wire::BillingSettings { email: standing.email, webhook_url: standing.webhook_url })
}

/// What a project has, and whether it is suspended.
#[utoipa::path(get, path = "/v1/projects/{project}/balance", tag = "ledger", params(("project", description = "Id or name")), responses((status = 200, body = wire::Balance)))]
pub(crate) async fn balance(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<wire::Balance>> {
    Ok(Json(balance_view(context.app.balance(&caller, &project).await?, &context.app)))
}

/// The project's statement, the newest line first.
#[utoipa::path(get, path = "/v1/projects/{project}/ledger", tag = "ledger", params(("project", description = "Id or name"), Paging), responses((status = 200, body = Page<wire::LedgerLine>)))]
pub(crate) async fn list(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(query): Query<Paging>,
) -> ApiResult<Json<Page<wire::LedgerLine>>> {
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Error::invalid("after", "must be the `next` of a page"))?;
    let page = context.app.list_ledger(&caller, &project, after, limit(query.limit)?).await?;
    Ok(Json(Page { items: page.items.into_iter().map(line).collect(), next: page.next }))
}

/// Gives a project money that was not paid here. Operators only.
#[utoipa::path(post, path = "/v1/projects/{project}/credits", tag = "ledger", params(("project", description = "Id or name"), IdempotencyHeader), request_body = wire::MoveMoney, responses((status = 201, body = wire::LedgerLine)))]
pub(crate) async fn credit(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Idempotency(key): Idempotency,
    Body(request): Body<wire::MoveMoney>,
) -> ApiResult<(StatusCode, Json<wire::LedgerLine>)> {
    let made = context.app.credit_project(&caller, &project, request.amount, request.reason, key).await?;
    Ok((StatusCode::CREATED, Json(line(made))))
}

/// Takes money out that was given back to whoever paid it; never more than there is. A deleted project is named by its id.
/// Operators only.
#[utoipa::path(post, path = "/v1/projects/{project}/refunds", tag = "ledger", params(("project", description = "Id or name"), IdempotencyHeader), request_body = wire::MoveMoney, responses((status = 201, body = wire::LedgerLine)))]
pub(crate) async fn refund(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Idempotency(key): Idempotency,
    Body(request): Body<wire::MoveMoney>,
) -> ApiResult<(StatusCode, Json<wire::LedgerLine>)> {
    let made = context.app.refund_project(&caller, &project, request.amount, request.reason, key).await?;
    Ok((StatusCode::CREATED, Json(line(made))))
}

/// Deleted projects that still have money, or owe some. Operators only.
#[utoipa::path(get, path = "/v1/ledger/left-over", tag = "ledger", responses((status = 200, body = Page<wire::LeftOver>)))]
pub(crate) async fn left_over(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<Page<wire::LeftOver>>> {
    let view = |found: LeftOver| wire::LeftOver {
        project: found.project.id,
        name: found.project.name.to_string(),
        owner: found.project.owner_login,
        deleted_at: found.project.deleted_at.map(|at| at.0).unwrap_or_default(),
        balance: found.balance,
    };
    let items = context.app.list_left_over(&caller).await?.into_iter().map(view).collect();
    Ok(Json(Page { items, next: None }))
}

/// What the project used, summed up by interval, hour or day; at most 2000 steps.
#[utoipa::path(get, path = "/v1/projects/{project}/usage", tag = "ledger", params(("project", description = "Id or name"), wire::UsageQuery), responses((status = 200, body = Page<wire::UsageSum>)))]
pub(crate) async fn usage(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Query(query): Query<wire::UsageQuery>,
) -> ApiResult<Json<Page<wire::UsageSum>>> {
    let step = match query.step.unwrap_or_default() {
        wire::UsageStep::Interval => Step::Interval,
        wire::UsageStep::Hour => Step::Hour,
        wire::UsageStep::Day => Step::Day,
    };
    let (instance, from, to) = (query.instance.as_deref(), query.from.map(Millis), query.to.map(Millis));
    let sums = context.app.usage(&caller, &project, instance, from, to, step).await?;
    Ok(Json(Page { items: sums.into_iter().map(sum).collect(), next: None }))
}

/// One month, as JSON or, when the client accepts `text/csv`, as a table.
#[utoipa::path(get, path = "/v1/projects/{project}/invoices", tag = "ledger", params(("project", description = "Id or name"), wire::InvoiceQuery), responses((status = 200, body = wire::Invoice)))]
pub(crate) async fn invoice(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(project): Path<String>,
    Query(query): Query<wire::InvoiceQuery>,
) -> ApiResult<Response> {
    let invoice = context.app.invoice(&caller, &project, &query.month).await?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.contains("text/csv") {
        return Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&invoice)).into_response());
    }
    let own = |other: Sats| other.negated().unwrap_or(other);
    let lines = invoice.lines.into_iter().map(|(kind, account, entries, amount)| wire::InvoiceLine {
        kind,
        account,
        entries,
        amount: own(amount),
    });
    let body = wire::Invoice {
        project: invoice.project,
        month: invoice.month,
        opening_balance: invoice.opening,
        closing_balance: invoice.closing,
        lines: lines.collect(),
        usage: invoice.usage.map(sum),
    };
    Ok(Json(body).into_response())
}

/// Words and numbers of ours only: nothing in it needs quotes, and nothing could be a formula.
fn csv(invoice: &Invoice) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("month,project,kind,account,entries,satoshis\r\n");
    let (month, project) = (&invoice.month, invoice.project);
    let _ = write!(text, "{month},{project},opening,,,{}\r\n", invoice.opening);
    for (kind, account, entries, amount) in &invoice.lines {
        let amount = amount.negated().unwrap_or(*amount);
        let _ = write!(text, "{month},{project},{kind},{account},{entries},{amount}\r\n");
    }
    let _ = write!(text, "{month},{project},closing,,,{}\r\n", invoice.closing);
    text
}

/// What the project pays, and what it paid before.
#[utoipa::path(get, path = "/v1/projects/{project}/prices", tag = "ledger", params(("project", description = "Id or name")), responses((status = 200, body = wire::Prices)))]
pub(crate) async fn prices(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<wire::Prices>> {
    let (current, versions) = context.app.list_prices(&caller, &project).await?;
    Ok(Json(wire::Prices {
        current: current.map(price),
        versions: versions.into_iter().map(price).collect(),
    }))
}

/// Gives the project rates of its own from now on, or the server's again. Operators only.
#[utoipa::path(put, path = "/v1/projects/{project}/prices", tag = "ledger", params(("project", description = "Id or name")), request_body = wire::SetPrices, responses((status = 200, body = wire::Price)))]
pub(crate) async fn set_prices(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<wire::SetPrices>,
) -> ApiResult<Json<wire::Price>> {
    let set = context.app.set_prices(&caller, &project, request.rates, request.reason).await?;
    Ok(Json(price(set)))
}

/// The project's caps, with what counts against each now.
#[utoipa::path(get, path = "/v1/projects/{project}/caps", tag = "ledger", params(("project", description = "Id or name")), responses((status = 200, body = Page<wire::Cap>)))]
pub(crate) async fn caps(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<Page<wire::Cap>>> {
    Ok(caps_view(context.app.list_caps(&caller, &project).await?))
}

/// Sets a cap, or takes one away.
#[utoipa::path(put, path = "/v1/projects/{project}/caps", tag = "ledger", params(("project", description = "Id or name")), request_body = wire::SetCap, responses((status = 200, body = Page<wire::Cap>)))]
pub(crate) async fn set_cap(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<wire::SetCap>,
) -> ApiResult<Json<Page<wire::Cap>>> {
    let wire::SetCap { instance, kind, period, amount } = request;
    let caps = context.app.set_cap(&caller, &project, instance.as_deref(), kind, period, amount).await?;
    Ok(caps_view(caps))
}

/// Whom the project wants to be told when its balance falls.
#[utoipa::path(get, path = "/v1/projects/{project}/billing", tag = "ledger", params(("project", description = "Id or name")), responses((status = 200, body = wire::BillingSettings)))]
pub(crate) async fn settings(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
) -> ApiResult<Json<wire::BillingSettings>> {
    Ok(settings_view(context.app.billing_settings(&caller, &project).await?))
}

/// Sets whom to tell: an address, and a webhook whose messages are signed.
#[utoipa::path(put, path = "/v1/projects/{project}/billing", tag = "ledger", params(("project", description = "Id or name")), request_body = wire::SetBillingSettings, responses((status = 200, body = wire::BillingSettings)))]
pub(crate) async fn set_settings(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(project): Path<String>,
    Body(request): Body<wire::SetBillingSettings>,
) -> ApiResult<Json<wire::BillingSettings>> {
    let wire::SetBillingSettings { email, webhook_url, webhook_secret } = request;
    let secret = webhook_secret.map(Secret::new);
    let set = context.app.set_billing_settings(&caller, &project, email, webhook_url, secret).await?;
    Ok(settings_view(set))
}

/// Recomputes the whole ledger from samples, prices and entries, and lists every difference. Operators only.
#[utoipa::path(post, path = "/v1/ledger/verify", tag = "ledger", responses((status = 200, body = wire::Verification)))]
pub(crate) async fn verify(
    State(context): State<Context>,
    Auth(caller): Auth,
) -> ApiResult<Json<wire::Verification>> {
    let found = context.app.verify_ledger(&caller).await?;
    Ok(Json(wire::Verification {
        intervals: found.intervals,
        from_samples: found.from_samples,
        accounts: found.accounts,
        differences: found.differences,
        examples: found.examples,
    }))
}
